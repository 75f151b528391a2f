# METADATA
# title: May this recipient have this dataset for this purpose?
# description: >-
#   The one entrypoint. `input.items` are subject-free questions (hub/core/question.py); the answer holds one verdict
#   each, in order: the widest fields that could be permitted once every reason is cured, and every reason. A
#   question that is not understood gets no verdict, so the answer comes out short and the hub waits. No reason at all
#   is permission, and only for the fields named; no rule here can name a field that the papers do not.
# scope: package
package hub.release

import data.hub.ask
import data.hub.grant
import data.hub.must_deny
import data.hub.standing

# METADATA
# title: The verdicts on a batch, and the revision of policy and catalogue they were given under
# entrypoint: true
answer := {
	"revision": data.revision,
	"verdicts": [verdict(question) | some question in input.items],
}

# METADATA
# title: The verdict on one question
# description: Undefined for a question whose basis, state or assurance this policy does not know.
verdict(question) := {
	"fields": grant.fields(question) - must_deny.fields(question),
	"reasons": union({
		grant.reasons(question),
		standing.reasons(question),
		must_deny.reasons(question),
		ask.reasons(question),
	}),
} if {
	standing.known(question)
}
