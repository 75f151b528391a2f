"""Read the catalogue's files, keeping the line of every key, so that a finding can point at it.

agencies.yaml, datasets/<name>.yaml, purposes/<CODE>.yaml, agreements/<CODE>.yaml; nothing else belongs there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from hub.core.agreement import Catalogue
from hub.core.catalogue import Node, Sources, assemble
from hub.core.errors import HubError, Item, Kind

FOLDERS = ("datasets", "purposes", "agreements")
FILE_CHARS = 200_000  # ten times the largest that a person would review
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the same nodes, ten times as fast


def load(directory: Path) -> Catalogue:
    """Read and check the catalogue.

    Raises: HubError(STARTUP) with an item for each finding; its `where` is file:line.
    """
    catalogue, findings = _assembled(directory)
    if catalogue is None:
        raise HubError(
            Kind.STARTUP,
            f"The catalogue has findings: {len(findings)}. The first: {findings[0].what}",
            where=findings[0].where,
            remedy=findings[0].remedy or "Correct the file; `hub catalogue check` lists every finding.",
            code="catalogue-invalid",
            items=findings,
        )
    return catalogue


def check(directory: Path) -> tuple[Item, ...]:
    """Give every finding; none means that `load` succeeds."""
    return _assembled(directory)[1]


def _assembled(directory: Path) -> tuple[Catalogue | None, tuple[Item, ...]]:
    findings: list[Item] = []
    agencies = _read(directory / "agencies.yaml", findings)
    nodes = {folder: [_read(path, findings) for path in _files(directory / folder, findings)] for folder in FOLDERS}
    findings += [
        Item(f"{path.name} is not part of a catalogue and would not be read", str(path), "Remove it, or move it.")
        for path in sorted(directory.iterdir() if directory.is_dir() else ())
        if path.name not in ("agencies.yaml", *FOLDERS)
    ]
    datasets, purposes, agreements = (tuple(node for node in nodes[folder] if node is not None) for folder in FOLDERS)
    if agencies is None or any(None in found for found in nodes.values()):
        return None, tuple(findings)  # what cannot be parsed would only be missed everywhere else
    catalogue, more = assemble(Sources(agencies, datasets, purposes, agreements))
    findings += more
    return (None if findings else catalogue), tuple(findings)


def _files(folder: Path, findings: list[Item]) -> Iterator[Path]:
    if not folder.is_dir():
        findings.append(Item(f"The folder {folder.name} is missing", str(folder)))
        return
    for path in sorted(folder.iterdir()):
        if path.suffix == ".yaml" and path.is_file():
            yield path
        else:
            what = f"{path.name} is not a .yaml file and would not be read"
            findings.append(Item(what, str(path), "Rename it, or remove it."))


def _read(path: Path, findings: list[Item]) -> Node | None:
    """Parse one file; None where it has no content that could be looked at."""
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > FILE_CHARS:
            raise ValueError("it is too large")
        loader = LOADER(text)
        root = loader.get_single_node()
        if root is None:
            raise ValueError("it is empty")
        return _Reading(loader, path.as_posix(), findings, set()).node(root, root.start_mark.line + 1)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        findings.append(Item(f"{path.name} is not YAML: {error.problem}", f"{path.as_posix()}:{line}"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        findings.append(Item(f"{path.name} cannot be read: {reason}", f"{path.as_posix()}:1"))
    return None


class _Reading(NamedTuple):
    """One file on its way from YAML's nodes to ours."""

    loader: yaml.SafeLoader | yaml.CSafeLoader
    file: str
    findings: list[Item]
    seen: set[int]  # a node that is met twice was written once and aliased

    def node(self, node: yaml.Node, line: int) -> Node:
        """Turn a YAML node into ours. Keys are texts; one that stands twice is a finding, and the first one counts."""
        if id(node) in self.seen:
            remedy = "Write it out: a reviewer reads from top to bottom."
            self._note("An alias is used here", node.start_mark.line + 1, remedy)
            return Node(None, self.file, line)
        self.seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return Node(self._entries(node), self.file, line)
        if isinstance(node, yaml.SequenceNode):
            elements = (self.node(each, each.start_mark.line + 1) for each in node.value)
            return Node(tuple(elements), self.file, line)
        return Node(self.loader.construct_object(node), self.file, line)

    def _entries(self, mapping: yaml.MappingNode) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in mapping.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in entries:
                self._note(f'"{key}" stands twice in one mapping', line, "Remove one.")
            else:
                entries[key] = self.node(value_node, line)
        return entries

    def _note(self, what: str, line: int, remedy: str) -> None:
        self.findings.append(Item(what, f"{self.file}:{line}", remedy))
