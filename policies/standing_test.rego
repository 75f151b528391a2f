package hub.standing_test

import data.hub.standing

catalogue := {"purposes": {"P2": {"assurance": 2}}}

reasons(basis, state, assurance) := found if {
	question := {"purpose": "P2", "basis": basis, "state": state, "assurance": assurance}
	found := standing.reasons(question) with data.catalogue as catalogue
}

known(basis, state, assurance) if standing.known({"basis": basis, "state": state, "assurance": assurance})

test_a_given_consent_of_enough_assurance_has_no_reason_against_it if {
	every basis in standing.asked_bases { reasons(basis, "given", 2) == set() }
}

test_every_other_state_of_consent_is_its_own_reason if {
	every basis in standing.asked_bases {
		every state in standing.consent_states - {"given"} {
			reasons(basis, state, 0) == {concat(".", ["consent", state])}
		}
	}
}

test_a_consent_given_with_too_little_assurance_does_not_count if {
	reasons("consent", "given", 1) == {"assurance.too_low"}
}

test_an_objection_counts_where_the_law_lets_one_object_and_there_only if {
	reasons("law_with_objection", "objected", 3) == {"objection.recorded"}
	reasons("law", "objected", 3) == set()
	reasons("vital_interest", "objected", 3) == set()
}

test_objection_and_assurance_are_both_named if {
	reasons("law_with_objection", "objected", 1) == {"objection.recorded", "assurance.too_low"}
}

test_the_law_needs_the_assurance_of_its_purpose_as_well if {
	every basis in standing.told_bases {
		reasons(basis, "none", 2) == set()
		reasons(basis, "none", 1) == {"assurance.too_low"}
	}
}

test_words_that_the_policy_does_not_know_are_not_understood if {
	known("consent", "none", 0)
	known("law", "objected", 3)
	not known("consent", "objected", 2)
	not known("law", "given", 2)
	not known("consent", "maybe", 2)
	not known("curiosity", "given", 2)
	not known("consent", "given", 4)
	not known("consent", "given", "2")
}
