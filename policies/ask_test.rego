package hub.ask_test

import data.hub.ask

test_an_ask_with_a_case_has_no_reason_against_it if ask.reasons({"asks": "with_case"}) == set()

test_an_ask_without_a_case_is_refused if ask.reasons({"asks": "without_case"}) == {"policy.ask_without_case"}

test_what_happens_is_no_ask if {
	ask.reasons({"asks": ""}) == set()
	ask.reasons({}) == set()
}
