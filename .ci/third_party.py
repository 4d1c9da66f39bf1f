#!/usr/bin/env python3
"""Checks the crates that the program is made of: their licences, duplicates, and the notices for binaries.

python3 .ci/third_party.py          fails where a licence is not allowed, a crate is there in several
                                    versions that nobody has agreed to, THIRD-PARTY.txt is not current,
                                    or a licence of our own has no text (LICENSE-MIT, LICENSE-APACHE)
python3 .ci/third_party.py --write  writes THIRD-PARTY.txt

Needs Python 3.11 or newer and the crates' sources, which every build downloads; asks no network. It knows no
advisories: `cargo deny check advisories` or `cargo audit` do, where there is a network.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTICES = ROOT / "THIRD-PARTY.txt"
TARGET = "x86_64-unknown-linux-gnu"

# Licences that ask for no more than a notice, the one that is chosen where there are several first.
ALLOWED = [
    "MIT",
    "MIT-0",
    "Apache-2.0 WITH LLVM-exception",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
    "Unicode-3.0",
    "BSL-1.0",
]

# Crates that are there in several versions because others have not moved on yet.
DUPLICATES = set("""
    bitflags foldhash gimli hashbrown itertools miniz_oxide quick-error shlex similar syn unicode-width
""".split())


def choice(expression):
    """The licences to comply with, of an SPDX expression; None where none is allowed."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression)

    def alternatives():
        found = [conjunction()]
        while tokens and tokens[0] in ("OR", "/"):
            tokens.pop(0)
            found.append(conjunction())
        found = [f for f in found if f is not None]
        return min(found, key=lambda f: max(ALLOWED.index(l) for l in f), default=None)

    def conjunction():
        found = single()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            other = single()
            found = None if found is None or other is None else found | other
        return found

    def single():
        token = tokens.pop(0)
        if token == "(":
            found = alternatives()
            tokens.pop(0)
            return found
        if tokens[:1] == ["WITH"]:
            tokens.pop(0)
            token += " WITH " + tokens.pop(0)
        return {token} if token in ALLOWED else None

    return alternatives()


def metadata():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", TARGET]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def linked(meta, root):
    """The ids of all crates whose code is in the program `root`."""
    nodes = {node["id"]: node for node in meta["resolve"]["nodes"]}
    found, waiting = set(), [p["id"] for p in meta["packages"] if p["name"] == root]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [d["pkg"] for d in nodes[node]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
    return found


def texts(package, chosen):
    """The texts of the chosen licences in the package, and its notices."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [f for f in sorted(folder.iterdir()) if f.is_file()]
    notices = [f for f in files if re.match(r"(?i)notice|copyright", f.name)]
    licences = [f for f in files if re.match(r"(?i)licen[cs]e|copying|unlicen[cs]e", f.name)]
    words = {word for licence in chosen for word in re.findall(r"[a-z]+", licence.split("-")[0].lower())}
    named = [f for f in licences if any(word in f.name.lower() for word in words)]
    return [f.read_text(errors="replace").strip() for f in (named or licences) + notices]


def notices(packages):
    """The text of THIRD-PARTY.txt: the crates, and each text once."""
    users = {}
    lines = ["The program snnc contains these crates, under these licences.", ""]
    for package in packages:
        chosen = " AND ".join(sorted(choice(package["license"])))
        name = f"{package['name']} {package['version']}"
        authors = ", ".join(re.sub(r"\s*<[^>]*>", "", a) for a in package["authors"])
        found = texts(package, choice(package["license"]))
        for text in found:
            key = re.sub(r"\s+", " ", text)
            users.setdefault(key, (text, []))[1].append(name)
        by = f", by {authors}" if authors and not found else ""
        lines.append(f"{name}: {chosen}{by}; {package['repository'] or 'https://crates.io/crates/' + package['name']}")
    for text, names in users.values():
        lines += ["", "=" * 80, "\n".join(names), "-" * 80, text]
    return "\n".join(lines) + "\n"


def main():
    meta = metadata()
    own = set(meta["workspace_members"])
    foreign = sorted((p for p in meta["packages"] if p["id"] not in own), key=lambda p: (p["name"], p["version"]))
    used = {node["id"] for node in meta["resolve"]["nodes"]}
    foreign = [p for p in foreign if p["id"] in used]
    faults = []
    for package in foreign:
        if not package["license"] or choice(package["license"]) is None:
            faults.append(f"{package['name']} {package['version']} has the licence {package['license']}, which is not allowed")
    names = [p["name"] for p in foreign]
    several = {name for name in names if names.count(name) > 1}
    faults += [f"{name} is there in several versions (cargo tree -d)" for name in sorted(several - DUPLICATES)]
    faults += [f"{name} is no duplicate any more: take it off the list" for name in sorted(DUPLICATES - several)]
    ours = {licence for p in meta["packages"] if p["id"] in own for licence in p["license"].split(" OR ")}
    texts_of_ours = {f"LICENSE-{licence.split('-')[0].upper()}" for licence in ours}
    faults += [f"{name} is missing" for name in sorted(texts_of_ours) if not (ROOT / name).is_file()]
    if not faults:
        inside = linked(meta, "snnc")
        text = notices([p for p in foreign if p["id"] in inside])
        if "--write" in sys.argv:
            NOTICES.write_text(text)
        elif not NOTICES.exists() or NOTICES.read_text() != text:
            faults.append(f"{NOTICES.name} is not current: python3 .ci/third_party.py --write")
    for fault in faults:
        print(f"third party: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


main()
