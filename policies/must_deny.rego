# METADATA
# title: What may never be released, whatever was signed or consented to?
# description: >-
#   The entries stand in `policies/must_deny.json`, each with title, citation and scenario, for people to review. An
#   entry names its `datasets` and may narrow itself by `fields` (else the dataset as a whole), by `purposes` and
#   `recipients` that it is about, or by `purposes_except` and `recipients_except` that it is not about. Papers that
#   would release such a field are refused as a whole, under the entry's own code: somebody has to correct them.
# scope: package
package hub.must_deny

import data.hub.grant

# METADATA
# title: Reasons of the entries that the question runs into
# custom:
#   citation: each entry's own
# scope: document
reasons(question) := {entry.code |
	some entry in data.must_deny
	about(entry, question)
	touches(entry, question)
} | special_reasons(question)

# METADATA
# title: Fields that must not be released in answer to this question
# scope: document
fields(question) := {name |
	some entry in data.must_deny
	about(entry, question)
	some name in grant.papers(question)
	covers(entry, name)
} | special(question)

# METADATA
# title: The entry speaks of this dataset, purpose and recipient
# scope: document
about(entry, question) if {
	question.dataset in entry.datasets
	not elsewhere(entry, "purposes", question.purpose)
	not elsewhere(entry, "recipients", grant.agreement(question).recipient)
}

# METADATA
# title: The entry lists others than this one, or excepts it; without a list it is about everyone
# scope: document
elsewhere(entry, kind, name) if {
	entry[kind]
	not name in entry[kind]
}

elsewhere(entry, kind, name) if name in entry[concat("_", [kind, "except"])]

# METADATA
# title: The papers would release a field that the entry names; without a list of fields the whole dataset is meant
# scope: document
touches(entry, question) if {
	some name in grant.papers(question)
	covers(entry, name)
}

# METADATA
# title: The entry names this field, or the dataset as a whole
# scope: document
covers(entry, _) if not entry.fields

covers(entry, name) if name in entry.fields

default special(_) := set()

# METADATA
# title: Special categories go only with the person's yes, in vital interest, or under a named law
# description: Whether a field is of a special category is said by its dataset in the catalogue.
# custom:
#   citation: GDPR article 9(1) and 9(2)(a), (b), (c) and (g)
special(question) := {name |
	some name in grant.papers(question)
	grant.dataset(question).fields[name].special
} if {
	grant.purpose(question).basis in {"law", "law_with_objection"}
	grant.purpose(question).law == ""
}

# METADATA
# title: Such a field in the papers is a fault of the papers
# scope: document
special_reasons(question) := {"policy.special_category_without_ground" | some _ in special(question)}
