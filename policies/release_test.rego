package hub.release_test

import data.hub.release

catalogue := {
	"datasets": {"birth": {"provider": "p", "fields": {"dob": {"special": false}, "weight": {"special": true}}}},
	"purposes": {"PLACE": {
		"basis": "consent", "assurance": 2, "law": "",
		"wanted": {"birth": ["dob", "weight"]},
	}},
	"agreements": {"A-1": {
		"version": 1, "provider": "p", "recipient": "town", "purposes": ["PLACE"],
		"ceiling": {"birth": ["dob", "weight"]},
	}},
}

forbidden := [{"code": "policy.weight", "datasets": ["birth"], "fields": ["weight"]}]

question := {
	"agreement": "A-1", "version": 1, "purpose": "PLACE", "dataset": "birth",
	"basis": "consent", "state": "given", "assurance": 2,
}

answer(items, entries) := got if {
	got := release.answer with input.items as items
		with data.catalogue as catalogue
		with data.must_deny as entries
		with data.revision as "r1"
}

test_a_permitted_ask_needs_its_case if {
	asked := [object.union(question, {"asks": how}) | some how in ["with_case", "without_case"]]
	answer(asked, []).verdicts == [
		{"fields": {"dob", "weight"}, "reasons": set()},
		{"fields": {"dob", "weight"}, "reasons": {"policy.ask_without_case"}},
	]
}

test_a_way_of_asking_that_is_not_known_gets_no_verdict if {
	answer([object.union(question, {"asks": "loudly"})], []).verdicts == []
}

test_a_permitted_question_has_fields_and_no_reason if {
	answer([question], []) == {"revision": "r1", "verdicts": [{"fields": {"dob", "weight"}, "reasons": set()}]}
}

test_reasons_of_every_kind_are_collected if {
	asked := object.union(question, {"version": 2, "state": "paused"})
	answer([asked], forbidden).verdicts == [{
		"fields": set(),
		"reasons": {"policy.version_mismatch", "policy.weight", "consent.paused"},
	}]
}

test_the_widest_fields_stay_named_beside_a_reason_that_can_be_cured if {
	answer([object.union(question, {"state": "none"})], []).verdicts == [{
		"fields": {"dob", "weight"},
		"reasons": {"consent.none"},
	}]
}

test_a_forbidden_field_is_neither_named_nor_passed_over_in_silence if {
	answer([question], forbidden).verdicts == [{"fields": {"dob"}, "reasons": {"policy.weight"}}]
}

test_verdicts_come_in_the_order_of_the_questions if {
	answer([question, object.union(question, {"state": "lapsed"}), question], []).verdicts == [
		{"fields": {"dob", "weight"}, "reasons": set()},
		{"fields": {"dob", "weight"}, "reasons": {"consent.lapsed"}},
		{"fields": {"dob", "weight"}, "reasons": set()},
	]
}

test_a_question_not_understood_gets_no_verdict if {
	count(answer([question, object.union(question, {"basis": "curiosity"})], []).verdicts) == 1
}

test_without_papers_the_answer_is_no if {
	answer([object.union(question, {"agreement": "A-9"})], []).verdicts == [{
		"fields": set(),
		"reasons": {"policy.agreement_unknown", "policy.dataset_not_granted", "policy.purpose_not_granted"},
	}]
}

test_without_a_revision_there_is_no_answer if {
	not release.answer with input.items as [question] with data.catalogue as catalogue with data.must_deny as []
}
