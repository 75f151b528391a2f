# METADATA
# title: What do the signed agreement and the registered purpose grant?
# description: >-
#   Reads `data.catalogue` (agreements, purposes, datasets; written by `policy_data` in `hub/policy/papers.py`).
#   Nothing here names an agency, a purpose or a field: the approved papers do.
# scope: package
package hub.grant

# METADATA
# title: Reasons why the papers do not carry this question
# scope: document
reasons(question) := {code | some code in codes; refused(code, question)}

# METADATA
# title: Every reason of this package, each with a rule of its own below
codes := {
	"policy.agreement_unknown",
	"policy.basis_mismatch",
	"policy.dataset_not_granted",
	"policy.law_not_named",
	"policy.purpose_not_granted",
	"policy.version_mismatch",
}

default fields(_) := set()

# METADATA
# title: The agreement's ceiling and the purpose's smallest set, and of these only what the dataset has
# description: Empty where the papers do not carry the question at all.
# custom:
#   citation: GDPR article 5(1)(c), data minimisation
fields(question) := widest if {
	count(reasons(question)) == 0
	widest := papers(question)
}

# METADATA
# title: What the papers would grant, whatever else speaks against it
# scope: document
papers(question) := (ceiling & wanted) & schema if {
	ceiling := {name | some name in agreement(question).ceiling[question.dataset]}
	wanted := {name | some name in purpose(question).wanted[question.dataset]}
	schema := {name | some name, _ in dataset(question).fields}
}

# METADATA
# title: No agreement, no data
# custom:
#   citation: Data sharing agreements, GDPR article 26 and 28(3)
refused("policy.agreement_unknown", question) if not agreement(question)

# METADATA
# title: The question was asked under the version of the agreement that is approved
# custom:
#   citation: GDPR article 5(2), accountability; both officers signed one version
refused("policy.version_mismatch", question) if agreement(question).version != question.version

# METADATA
# title: The agreement serves this purpose, and the purpose is registered
# custom:
#   citation: GDPR article 5(1)(b), purpose limitation
refused("policy.purpose_not_granted", question) if not serves(question)

# METADATA
# title: Agreement and purpose both name the dataset, and its own provider signed
# custom:
#   citation: GDPR article 5(1)(b) and (c)
refused("policy.dataset_not_granted", question) if not covers(question)

# METADATA
# title: The question names the basis that the purpose was registered with
# custom:
#   citation: GDPR article 6(1); a basis is not exchanged for another afterwards
refused("policy.basis_mismatch", question) if purpose(question).basis != question.basis

# METADATA
# title: Who relies on a law names its article
# custom:
#   citation: GDPR article 6(3)
refused("policy.law_not_named", question) if {
	purpose(question).basis in {"law", "law_with_objection"}
	purpose(question).law == ""
}

# METADATA
# title: The agreement names the purpose, and the catalogue has it
serves(question) if {
	question.purpose in agreement(question).purposes
	purpose(question)
}

# METADATA
# title: The agreement grants the dataset, the purpose wants it, and it is the provider's own
covers(question) if {
	agreement(question).ceiling[question.dataset]
	purpose(question).wanted[question.dataset]
	dataset(question).provider == agreement(question).provider
}

# METADATA
# title: The approved version of the agreement asked about
agreement(question) := data.catalogue.agreements[question.agreement]

# METADATA
# title: The registered purpose asked about
purpose(question) := data.catalogue.purposes[question.purpose]

# METADATA
# title: The dataset asked about
dataset(question) := data.catalogue.datasets[question.dataset]
