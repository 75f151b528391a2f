# METADATA
# title: Do this person's consent, objection and assurance allow it?
# description: >-
#   The person is not named; only the state of the consent (or objection) and the level of assurance are. `decide`
#   judges the same facts again with its own code: both must agree, and neither can permit what the other refuses.
# scope: package
package hub.standing

import data.hub.grant

# METADATA
# title: Bases under which nothing goes without a recorded yes
asked_bases := {"consent", "explicit_request"}

# METADATA
# title: Bases under which the person is told, not asked
told_bases := {"law", "law_with_objection", "vital_interest"}

# METADATA
# title: States of a consent record, and `none` where there is no record
consent_states := {
	"expired", "given", "invalidated", "lapsed", "none", "paused", "refused", "renewed", "requested", "superseded",
	"terminated", "withdrawn",
}

# METADATA
# title: Levels of assurance that a person's identity can have
# custom:
#   citation: UK Good Practice Guide 45; 0 is none, 1 to 3 are low, medium and high
assurance_levels := {0, 1, 2, 3}

# METADATA
# title: Basis, state and level are words this policy knows, in a combination that can be
# description: Otherwise there is no verdict at all, and the event waits; a fault of the hub must not consume it.
# scope: document
known(question) if {
	object.get(question, "asks", "") in {"", "with_case", "without_case"}
	question.basis in asked_bases
	question.state in consent_states
	question.assurance in assurance_levels
}

known(question) if {
	object.get(question, "asks", "") in {"", "with_case", "without_case"}
	question.basis in told_bases
	question.state in {"none", "objected"}
	question.assurance in assurance_levels
}

# METADATA
# title: Reasons in the person's own standing
# scope: document
reasons(question) := (consent(question) | objection(question)) | assurance(question)

default consent(_) := set()

# METADATA
# title: Where the basis asks the person, only a consent that is given now counts
# custom:
#   citation: GDPR article 6(1)(a) and 7(3)
consent(question) := {concat(".", ["consent", question.state])} if {
	question.basis in asked_bases
	question.state != "given"
}

default objection(_) := set()

# METADATA
# title: A recorded objection stops what the law lets the person object to
# custom:
#   citation: GDPR article 21(1)
objection(question) := {"objection.recorded"} if {
	question.basis == "law_with_objection"
	question.state == "objected"
}

default assurance(_) := set()

# METADATA
# title: The identity is as sure as the purpose demands
# description: For a consent this is the assurance at its grant, so one that was never given is not judged by it.
# custom:
#   citation: UK Good Practice Guide 45; eIDAS article 8
assurance(question) := {"assurance.too_low"} if {
	not question.basis in asked_bases
	question.assurance < grant.purpose(question).assurance
}

assurance(question) := {"assurance.too_low"} if {
	question.state == "given"
	question.assurance < grant.purpose(question).assurance
}
