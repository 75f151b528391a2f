# METADATA
# title: May this recipient ask about one person?
# description: >-
#   What happens to people is heard of as it happens. Who asks about one person has a case of theirs open, and names it.
# scope: package
package hub.ask

default reasons(_) := set()

# METADATA
# title: No question about a person without an open case
# description: The case is the recipient's own tag; that it is named is what the person and an inspector can follow up.
# custom:
#   citation: Scenario S3; GDPR article 5(1)(b) and 5(2)
# scope: document
reasons(question) := {"policy.ask_without_case"} if question.asks == "without_case"
