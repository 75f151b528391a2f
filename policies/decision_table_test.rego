# METADATA
# title: The engine's share of the decision table, read from tests/vectors/decisions.json
# description: The same rows run through `decide` in tests/test_decision_table.py; what they say is explained there.
# scope: package
package hub.decision_table_test

import data.hub.release

table := data.decision_table

# One case per person that a verdict was given for: the question the gate would ask, and what the row expects of it.
cases := {case |
	some row in table.rows
	some index, person in row.given.persons
	expected := row.expect.persons[index]
	subscription := table.subscriptions[row.given.subscription]
	case := {
		"name": row.name,
		"question": question(row.given, subscription, person),
		"verdict": {
			"fields": {field | some field in object.get(row.given, "permitted", subscription.permitted)},
			"reasons": {reason | some reason in expected.reasons; of_the_engine(reason)},
		},
	}
}

question(given, subscription, person) := {
	"agreement": object.get(given, "agreement", subscription.agreement),
	"version": object.get(given, "version", table.catalogue.agreements[subscription.agreement].version),
	"purpose": object.get(given, "purpose", subscription.purpose),
	"dataset": subscription.dataset,
	"basis": object.get(given, "basis", table.catalogue.purposes[subscription.purpose].basis),
	"state": person.state,
	"assurance": person.assurance,
}

of_the_engine(reason) if {
	some kind in ["policy.", "consent.", "objection.", "assurance."]
	startswith(reason, kind)
	reason != "consent.new_stretch"
}

disagreeing contains {"row": case.name, "expected": case.verdict, "got": got} if {
	some case in cases
	got := release.verdict(case.question) with data.catalogue as table.catalogue
	got != case.verdict
}

unanswered contains case.name if {
	some case in cases
	not release.verdict(case.question) with data.catalogue as table.catalogue
}

test_every_row_of_the_decision_table_gets_its_verdict if {
	count(cases) >= 80
	print(disagreeing, unanswered)
	disagreeing == set()
	unanswered == set()
}
