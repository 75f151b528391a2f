"""An agreement as a page that a data-protection officer reads, prints and files: as plain text, and as HTML.

Who, what, why, under which law, for how long, what is *not* handed over, how far back, whom to call, how it stands and
who signed. Both forms are made of the same sections, so neither says more than the other. Nothing is left to scripts.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Any, NamedTuple

from hub.core.catalogue.sheet import day_text

WIDTH = 100
BASES = {
    "consent": "the person's consent; nothing goes without it, and it can be withdrawn at any time",
    "explicit_request": "the person's explicit request, each time",
    "law": "the law; the person is told",
    "law_with_objection": "the law; the person is told and may object",
    "vital_interest": "a vital interest of the person",
}
PHASES = {
    "in_force": "in force",
    "unsigned": "approved, and not in force: signatures are missing",
    "suspended": "suspended: nothing is handed over",
    "agency_suspended": "one of the agencies is suspended: nothing is handed over",
    "ended": "ended",
    "not_yet": "agreed, and not begun",
    "proposed": "proposed: it is not in force, and nothing is handed over under it",
}
STYLE = """
body{font:11pt/1.45 Georgia,'Times New Roman',serif;color:#111;max-width:46em;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin:0 0 .2em}h2{font-size:1.05em;margin:1.6em 0 .4em;border-bottom:1px solid #999}
table{border-collapse:collapse;width:100%;margin:.4em 0}
th,td{text-align:left;vertical-align:top;padding:.25em .6em .25em 0}
tr{border-bottom:1px solid #ddd;page-break-inside:avoid}th{font-weight:600}
p{margin:.35em 0}.digest{font:9pt/1.4 monospace;overflow-wrap:anywhere}.state{font-weight:600}
@media print{body{margin:0;max-width:none}h2{page-break-after:avoid}}
"""


class Section(NamedTuple):
    """A heading with paragraphs, then a table where there is one: its first row is the heading of its columns."""

    title: str
    lines: Sequence[str]
    table: Sequence[Sequence[str]] = ()


def sections_of(view: Mapping[str, Any], which: str) -> Iterator[Section]:
    """Make the page of one agreement, as `agreement_of` gives it; `which` of its terms: "approved" or "proposed".

    All that is signed shows: a character that would hide, move or turn other text stands there as its number.
    """
    for one in _sections(view, which):
        table = [[_visible(cell) for cell in row] for row in one.table]
        yield Section(_visible(one.title), [_visible(line) for line in one.lines], table)


def _visible(text: str) -> str:
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in " ".join(text.split()))


def _sections(view: Mapping[str, Any], which: str) -> Iterator[Section]:
    document = view["documents"][which]
    terms, datasets, standing = document["terms"], document["datasets"], view[which]
    agreement, purposes = terms["agreement"], terms["purposes"]
    parties = [_party(view, agreement[side], verb) for side, verb in (("provider", "gives"), ("recipient", "receives"))]
    yield Section("Who", parties)
    for name, granted in sorted(agreement["ceiling"].items()):
        yield _what(datasets[name], granted, purposes)
    for name in sorted(agreement["ceiling"]):
        yield _withheld(datasets[name], agreement["ceiling"][name])
    for code in agreement["purposes"]:
        yield _why(purposes[code])
    yield Section("Under which law, and for how long", tuple(_law(agreement)))
    yield Section("Whom to call", tuple(_contacts(view, agreement)))
    yield Section("How it stands", tuple(_state(view, which)), tuple(_signatures(standing)))
    yield Section("What was signed", (f"Version {standing['version']}, SHA-256 of its terms:", standing["digest"]))


def as_text(view: Mapping[str, Any], which: str) -> str:
    """Write the page for a terminal or a letter."""
    title = _title(view, which)
    out = [title, "=" * len(title), ""]
    for section in sections_of(view, which):
        out += [section.title, "-" * len(section.title)]
        for line in section.lines:
            out += wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False) or [""]
        if section.table:
            widths = [max(len(row[at]) for row in section.table) for at in range(len(section.table[0]))]
            out += [
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                for row in section.table
            ]
        out.append("")
    return "\n".join(out)


def as_html(view: Mapping[str, Any], which: str) -> str:
    """Write the page as one HTML document: style inline, no script, nothing fetched, every value escaped."""
    title = escape(_title(view, which))
    out = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{STYLE}</style></head>',
        f'<body><h1>{title}</h1><p class="state">{escape(_phase(view, which))}</p>',
    ]
    for section in sections_of(view, which):
        out.append(f"<h2>{escape(section.title)}</h2>")
        for line in section.lines:
            kind = ' class="digest"' if line == view[which]["digest"] else ""
            out.append(f"<p{kind}>{escape(line)}</p>")
        if section.table:
            head, *rows = section.table
            out.append("<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>")
            out += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
            out.append("</table>")
    return "\n".join([*out, "</body></html>\n"])


def _title(view: Mapping[str, Any], which: str) -> str:
    return f"Agreement {view['code']}, version {view[which]['version']}"


def _name(view: Mapping[str, Any], code: str) -> str:
    titles = view["agencies"].get(code, {}).get("titles", {})
    return f"{titles['en']} ({code})" if "en" in titles else code


def _party(view: Mapping[str, Any], code: str, verb: str) -> str:
    return f"{_name(view, code)} {verb}."


def _titled(part: Mapping[str, Any]) -> str:
    return str((part.get("titles") or {}).get("en") or part["name"])


def _what(dataset: Mapping[str, Any], granted: Sequence[str], purposes: Mapping[str, Any]) -> Section:
    """List each field that may be handed over: what it is, whose, and which purpose needs it."""
    rows = [("field", "what it is", "about whom", "needed for")]
    fields = {one["name"]: one for one in dataset["fields"]}
    for one in [*dataset["fields"], *dataset["derived"]]:
        if one["name"] in granted:
            base = fields.get(one.get("base", ""), one)
            rows.append((one["name"], _described(one), base["role"], _needed(dataset["name"], one["name"], purposes)))
    return Section(f"What: {_titled(dataset)} ({dataset['name']} v{dataset['version']})", (), rows)


def _described(one: Mapping[str, Any]) -> str:
    told = [_titled(one)]
    told += [f"the {one['function']} of {one['base']} only"] if "function" in one else []
    told += ["special category (GDPR article 9)"] if one.get("special") else []
    told += ["sensitive"] if one.get("classification") == "sensitive" else []
    told += ["rewritten for the recipient"] if one.get("names") else []
    return "; ".join(told)


def _needed(dataset: str, field: str, purposes: Mapping[str, Any]) -> str:
    found = []
    for code, purpose in sorted(purposes.items()):
        wanted = purpose["wanted"].get(dataset, {"required": (), "optional": ()})
        found += [f"{code} (cannot do without)"] if field in wanted["required"] else []
        found += [code] if field in wanted["optional"] else []
    return ", ".join(found) or "-"


def _withheld(dataset: Mapping[str, Any], granted: Sequence[str]) -> Section:
    kept = [one for one in [*dataset["fields"], *dataset["derived"]] if one["name"] not in granted]
    names = ", ".join(f"{one['name']} ({_titled(one)})" for one in kept)
    line = f"Never handed over under this agreement: {names}." if kept else "Every field of it may be handed over."
    return Section(f"What not: {_titled(dataset)}", (line,))


def _why(purpose: Mapping[str, Any]) -> Section:
    law = f" ({purpose['law']})" if purpose["law"] else ""
    lines = [
        purpose["benefit"].get("en", ""),
        f"Legal basis: {BASES.get(purpose['basis'], purpose['basis'])}{law}.",
        f"Never used for: {', '.join(purpose['not_used_for'].get('en', ())) or '-'}.",
        f"The recipient keeps it for {purpose['retention_days']} days at the most.",
        f"People must be known to the level P{purpose['assurance']} at least.",
    ]
    if purpose["age_roles"]:
        bounds = [f"{purpose['age_from_years']} or older"] if purpose["age_from_years"] else []
        bounds += [f"below {purpose['age_below_years']}"] if purpose["age_below_years"] else []
        lines.append(f"Only where the {' or '.join(purpose['age_roles'])} is {' and '.join(bounds)}.")
    return Section(f"Why: {purpose['titles'].get('en', '')} ({purpose['code']} v{purpose['version']})", lines)


def _law(agreement: Mapping[str, Any]) -> Iterator[str]:
    days = agreement["look_back_days"]
    yield f"The agreement rests on: {agreement['law'] or '-'}."
    yield (
        f"It is valid from {day_text(agreement['valid_from_us'])}; on {day_text(agreement['valid_until_us'])} it is"
        f" valid no more. It is reviewed on {agreement['review_on']}."
    )
    if days:
        yield f"Look-back: where consent is missing, the last {days} days are held, sealed, for a later yes."
    else:
        yield "Look-back: none. What happens without consent is refused and not kept."


def _contacts(view: Mapping[str, Any], agreement: Mapping[str, Any]) -> Iterator[str]:
    for side in ("provider", "recipient"):
        code = agreement[side]
        contact = view["agencies"].get(code, {}).get("contact") or "no contact is given in the catalogue"
        yield f"{_name(view, code)}: {contact}."


def _phase(view: Mapping[str, Any], which: str) -> str:
    phase = "proposed" if which == "proposed" else str(view["phase"])
    return PHASES.get(phase, phase)


def _state(view: Mapping[str, Any], which: str) -> Iterator[str]:
    since = f", since {view['since']}" if which == "approved" and view["since"] else ""
    yield f"{_phase(view, which).capitalize()}{since}."
    for one in view["suspended_by"]:
        yield f"Suspended by {one['by']} since {one['since']}; in force again when nobody keeps it suspended."
    missing = view[which]["missing"]
    if which == "approved" and missing and view["signed"]:
        yield "It was agreed before officers' signatures were kept here; its next version needs them."
    elif missing:
        yield f"Signatures missing: {', '.join(missing)}."


def _signatures(standing: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    if standing["signatures"]:
        yield ("side", "signed by", "for", "when", "key")
    for one in standing["signatures"]:
        yield (one["side"], f"{one['name']}, {one['office']}", one["agency"], one["at"], one["kid"])
