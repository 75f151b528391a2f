package hub.grant_test

import data.hub.grant

catalogue := {
	"datasets": {"birth": {
		"provider": "registry",
		"fields": {"dob": {"special": false}, "dob_month": {"special": false}, "names": {"special": false}},
	}},
	"purposes": {
		"PLACE": {"basis": "consent", "assurance": 2, "law": "", "wanted": {"birth": ["dob_month", "unheard_of"]}},
		"BENEFIT": {"basis": "law", "assurance": 2, "law": "", "wanted": {"birth": ["dob"]}},
		"OTHER": {"basis": "consent", "assurance": 1, "law": "", "wanted": {"address": ["street"]}},
	},
	"agreements": {"A-1": {
		"version": 3,
		"provider": "registry",
		"recipient": "town",
		"purposes": ["PLACE", "OTHER", "BENEFIT", "UNREGISTERED"],
		"ceiling": {"birth": ["dob", "dob_month", "unheard_of"], "address": ["street"]},
	}},
}

question := {
	"agreement": "A-1", "version": 3, "purpose": "PLACE", "dataset": "birth",
	"basis": "consent", "state": "given", "assurance": 2,
}

reasons(changes) := found if {
	found := grant.reasons(object.union(question, changes)) with data.catalogue as catalogue
}

fields(changes) := found if {
	found := grant.fields(object.union(question, changes)) with data.catalogue as catalogue
}

test_granted_is_what_ceiling_purpose_and_schema_share if {
	reasons({}) == set()
	fields({}) == {"dob_month"}
}

test_an_unknown_agreement_grants_nothing if {
	reasons({"agreement": "A-2"}) == {
		"policy.agreement_unknown", "policy.purpose_not_granted", "policy.dataset_not_granted",
	}
	fields({"agreement": "A-2"}) == set()
}

test_another_version_of_the_agreement_grants_nothing if {
	reasons({"version": 2}) == {"policy.version_mismatch"}
	fields({"version": 2}) == set()
}

test_a_purpose_outside_the_agreement_is_not_granted if {
	"policy.purpose_not_granted" in reasons({"purpose": "CREDIT"})
	fields({"purpose": "CREDIT"}) == set()
}

test_a_purpose_that_nobody_registered_is_not_granted if {
	"policy.purpose_not_granted" in reasons({"purpose": "UNREGISTERED"})
}

test_a_dataset_that_the_purpose_does_not_want_is_not_granted if {
	reasons({"purpose": "OTHER"}) == {"policy.dataset_not_granted"}
}

test_a_dataset_that_no_schema_describes_is_not_granted if {
	reasons({"purpose": "OTHER", "dataset": "address"}) == {"policy.dataset_not_granted"}
	fields({"purpose": "OTHER", "dataset": "address"}) == set()
}

test_a_dataset_of_another_provider_is_not_granted if {
	elsewhere := object.union(catalogue, {"datasets": {"birth": {"provider": "hospital"}}})
	grant.reasons(question) == {"policy.dataset_not_granted"} with data.catalogue as elsewhere
}

test_a_basis_is_not_exchanged_for_another if {
	reasons({"basis": "law"}) == {"policy.basis_mismatch"}
}

test_who_relies_on_a_law_names_it if {
	reasons({"purpose": "BENEFIT", "basis": "law"}) == {"policy.law_not_named"}
	fields({"purpose": "BENEFIT", "basis": "law"}) == set()
}

test_without_a_catalogue_nothing_is_granted if {
	grant.reasons(question) == {
		"policy.agreement_unknown", "policy.purpose_not_granted", "policy.dataset_not_granted",
	} with data.catalogue as {}
}
