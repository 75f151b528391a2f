"""What the hub asks a policy engine, and what it believes of the answer.

A question is subject-free: it names no person, no event and no citizen's field choice. The engine answers with the
*widest* permitted fields; `decide` intersects. Few distinct questions exist, so verdicts are memoised per revision.
"""

from typing import NamedTuple


class Question(NamedTuple):
    """May this recipient have this dataset for this purpose, given this kind of basis, state and assurance?"""

    agreement: str
    version: int
    purpose: str
    dataset: str
    basis: str  # a Basis value
    state: str  # a consent State value where the basis needs consent; "objected" or "none" otherwise
    assurance: int  # 0..3
    asks: str = ""  # "with_case" | "without_case" where the recipient asked about one person; "" for what happens


class Verdict(NamedTuple):
    """An engine's answer. `revision` names policy and catalogue it was given under; no other is believed."""

    revision: str
    fields: frozenset[str]  # the widest fields the policy could permit once every reason is cured
    reasons: frozenset[str]  # codes, in the same words as `decide`'s; permitted only where this is empty
