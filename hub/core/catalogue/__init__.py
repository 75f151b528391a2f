"""The catalogue: who may hear what, for which purpose. Reviewed files become the values of `hub/core/agreement.py`.

`assemble` checks parsed files and says every finding at file and line; `to_document` and `from_document` carry approved
versions in and out of the store; `difference` and `refuse_rewrites` stand before every approval.
"""

from hub.core.catalogue.assemble import assemble
from hub.core.catalogue.change import Change, difference, refuse_rewrites
from hub.core.catalogue.document import compose, from_document, to_document
from hub.core.catalogue.sheet import Node, Sources

__all__ = [
    "Change",
    "Node",
    "Sources",
    "assemble",
    "compose",
    "difference",
    "from_document",
    "refuse_rewrites",
    "to_document",
]
