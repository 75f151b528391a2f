# METADATA
# title: Who may ask this OPA server what
# description: >-
#   For `opa run --server --authentication=token --authorization=basic`. The hub shows its token and may ask the one rule,
#   and nothing else; whoever shows none learns whether OPA is alive. Nobody may read or change policy and data: they
#   come in the hub's signed bundle alone. The token is in the environment of OPA, as HUB_TOKEN.
# scope: package
package system.authz

default allow := false

# METADATA
# title: Long enough that nobody guesses it; no token at all opens nothing
token := found if {
	found := opa.runtime().env.HUB_TOKEN
	count(found) >= 32
}

# METADATA
# title: The hub asks the one rule
allow if {
	input.method == "POST"
	input.path == ["v1", "data", "hub", "release", "answer"]
	input.identity == token
}

# METADATA
# title: Anybody may see that it is alive
allow if {
	input.method == "GET"
	input.path == ["health"]
}
