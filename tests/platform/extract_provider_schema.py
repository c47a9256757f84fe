"""Writes provider_schema.json: arguments and blocks of the google resources that terraform/ uses.

    pip download --no-deps --dest DIR cdktf-cdktf-provider-google==16.12.1
    python tests/platform/extract_provider_schema.py DIR/cdktf_cdktf_provider_google-*.whl

That package is generated from the provider's own schema and carries it as a jsii assembly (100 MB),
of which a few tens of kilobytes are needed here. It is the last of its kind, for provider 6.50. The
modules ask for 7, which no such package carries: an argument that 7 removed is not found here.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from tests.platform.terraform_files import ROOT, google_types

TARGET = Path(__file__).with_name("provider_schema.json")
SCHEMA_LINK = re.compile(r"#(\w+) ")


def read_assembly(wheel: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The jsii assembly of the bindings, and what their package.json says of the provider."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".jsii.tgz")]
        content = io.BytesIO(archive.read(name))
    with tarfile.open(fileobj=content) as package:
        assembly = json.load(package.extractfile("package/.jsii"))  # type: ignore[arg-type]
        about = json.load(package.extractfile("package/package.json"))  # type: ignore[arg-type]
    return assembly, about["cdktf"]["provider"]


def struct(types: dict[str, Any], fqn: str) -> dict[str, Any]:
    """Terraform's names in a jsii struct: required or optional, and for blocks what is in them."""
    found: dict[str, Any] = {}
    for field in types[fqn].get("properties", []):
        link = SCHEMA_LINK.search(json.dumps(field["docs"]))
        if link is None:
            continue
        entry: dict[str, Any] = {} if field.get("optional") else {"required": True}
        inner = _struct_of(types, field["type"])
        if inner:
            entry["fields"] = struct(types, inner)
        found[link[1]] = entry
    return found


def _struct_of(types: dict[str, Any], type_: dict[str, Any]) -> str | None:
    if "fqn" in type_:
        fqn = type_["fqn"]
        return fqn if fqn.startswith("@cdktf/") and types[fqn]["kind"] == "interface" else None
    if "collection" in type_:
        return _struct_of(types, type_["collection"]["elementtype"])
    options = [_struct_of(types, each) for each in type_.get("union", {}).get("types", [])]
    return next((each for each in options if each), None)


def main() -> None:
    assembly, provider = read_assembly(Path(sys.argv[1]))
    schemas = {}
    for kind, name in sorted(google_types(ROOT / "terraform")):
        words = name.removeprefix("google_").split("_")
        if kind == "data":
            words = ["data", "google", *words]
        camel = words[0] + "".join(word.capitalize() for word in words[1:])
        fqn = f"@cdktf/provider-google.{camel}.{camel[0].upper()}{camel[1:]}Config"
        schemas[f"{kind}.{name}"] = struct(assembly["types"], fqn)
    document = {"provider": provider, "bindings": assembly["version"], "schemas": schemas}
    TARGET.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(schemas)} schemas of {provider['name']} {provider['version']} in {TARGET.name}")


if __name__ == "__main__":
    main()
