package hub.must_deny_test

import data.hub.must_deny

entries := [
	{"code": "policy.weight", "datasets": ["birth"], "fields": ["weight"]},
	{"code": "policy.names_not_to_shop", "datasets": ["birth"], "fields": ["names"], "recipients": ["shop"]},
	{"code": "policy.tax_only", "datasets": ["pay"], "purposes_except": ["TAX"]},
	{"code": "policy.no_ads", "datasets": ["birth"], "purposes": ["ADS"]},
	{"code": "policy.image_at_gate", "datasets": ["match"], "fields": ["image"], "recipients_except": ["gate"]},
]

# one agreement per recipient; every field of every dataset is wanted by every purpose, as no checked catalogue would
catalogue := {
	"datasets": {
		"birth": {"provider": "p", "fields": {
			"dob": {"special": false}, "names": {"special": false}, "faith": {"special": true},
		}},
		"weighed": {"provider": "p", "fields": {"weight": {"special": true}}},
		"pay": {"provider": "p", "fields": {"total": {"special": false}}},
		"match": {"provider": "p", "fields": {"match": {"special": false}, "image": {"special": true}}},
	},
	"purposes": {code: {"basis": basis, "law": law, "assurance": 0, "wanted": wanted} |
		some code, [basis, law] in {
			"TAX": ["consent", ""], "CREDIT": ["consent", ""], "ADS": ["consent", ""], "HELP": ["vital_interest", ""],
			"RULED": ["law", "Act 1"], "UNRULED": ["law_with_objection", ""],
		}
		wanted := {"birth": ["dob", "names", "faith", "weight"], "pay": ["total"], "match": ["match", "image"]}
	},
	"agreements": {recipient: {"version": 1, "provider": "p", "recipient": recipient, "purposes": [], "ceiling": ceiling} |
		some recipient in ["shop", "gate", "town"]
		ceiling := {"birth": ["dob", "names", "faith", "weight"], "pay": ["total"], "match": ["match", "image"]}
	},
}

found(recipient, purpose, dataset) := {"reasons": reasons, "fields": fields} if {
	question := {"agreement": recipient, "purpose": purpose, "dataset": dataset}
	reasons := must_deny.reasons(question) with data.catalogue as catalogue with data.must_deny as entries
	fields := must_deny.fields(question) with data.catalogue as catalogue with data.must_deny as entries
}

clear := {"reasons": set(), "fields": set()}

test_papers_without_a_forbidden_field_are_not_touched if found("town", "TAX", "birth") == clear

test_a_field_forbidden_to_everyone_is_found_in_the_papers_and_named if {
	weighed := json.patch(
		catalogue,
		[{"op": "add", "path": "/datasets/birth/fields/weight", "value": {"special": false}}],
	)
	question := {"agreement": "town", "purpose": "TAX", "dataset": "birth"}
	must_deny.reasons(question) == {"policy.weight"} with data.catalogue as weighed with data.must_deny as entries
	must_deny.fields(question) == {"weight"} with data.catalogue as weighed with data.must_deny as entries
}

test_a_field_forbidden_to_one_recipient_is_forbidden_to_that_one_only if {
	found("shop", "TAX", "birth") == {"reasons": {"policy.names_not_to_shop"}, "fields": {"names"}}
	found("gate", "TAX", "birth") == clear
}

test_a_dataset_of_one_purpose_serves_no_other if {
	found("town", "TAX", "pay") == clear
	found("town", "CREDIT", "pay") == {"reasons": {"policy.tax_only"}, "fields": {"total"}}
}

test_a_forbidden_purpose_loses_the_whole_dataset if {
	found("town", "ADS", "birth") == {"reasons": {"policy.no_ads"}, "fields": {"dob", "names", "faith"}}
}

test_what_one_recipient_may_have_is_forbidden_to_the_others if {
	found("gate", "TAX", "match") == clear
	found("town", "TAX", "match") == {"reasons": {"policy.image_at_gate"}, "fields": {"image"}}
}

test_special_categories_need_a_yes_a_vital_interest_or_a_law_by_name if {
	found("town", "TAX", "birth") == clear
	found("town", "HELP", "birth") == clear
	found("town", "RULED", "birth") == clear
	found("town", "UNRULED", "birth") == {
		"reasons": {"policy.special_category_without_ground"},
		"fields": {"faith"},
	}
}

test_a_question_without_papers_runs_into_nothing_here if found("nobody", "TAX", "birth") == clear

test_every_entry_says_what_it_is_and_where_it_comes_from if {
	every entry in data.must_deny {
		startswith(entry.code, "policy.")
		every told in ["title", "citation", "scenario"] { entry[told] != "" }
		count(entry.datasets) > 0
	}
}

test_no_two_entries_share_a_code if {
	count({entry.code | some entry in data.must_deny}) == count(data.must_deny)
}
