"""Writes provider_schema.json: arguments and blocks of the google resources that terraform/ uses.

    pip download --no-deps --dest DIR cdktf-cdktf-provider-google==16.12.1 \\
        cdktf-cdktf-provider-google-beta==16.12.1
    python tests/platform/extract_provider_schema.py DIR/cdktf_cdktf_provider_google*.whl

Those packages are generated from the providers' own schemas and carry them as jsii assemblies (100
MB each), of which some tens of kilobytes are needed here. They are the last of their kind, for
provider 6.50. The modules ask for 7, which no such package carries: an argument that 7 removed is
not found here. Which blocks are sets and which are lists is not in them.
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
BETA_ONLY = {"google_project_service_identity"}
# Of the bindings themselves, and of no provider.
NO_ATTRIBUTES = {"tf_resource_type", "internal_value", "timeouts"}


def read_assembly(wheel: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The jsii assembly of the bindings, and what their package.json says of the provider."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".jsii.tgz")]
        content = io.BytesIO(archive.read(name))
    with tarfile.open(fileobj=content) as package:
        assembly = json.load(package.extractfile("package/.jsii"))  # type: ignore[arg-type]
        about = json.load(package.extractfile("package/package.json"))  # type: ignore[arg-type]
    return assembly, about["cdktf"]["provider"]


def struct(types: dict[str, Any], fqn: str, class_: str) -> dict[str, Any]:
    """Terraform's names in a jsii struct: required or optional, and for blocks what is in them.

    Args:
      types: of the assembly.
      fqn: the struct: what can be given.
      class_: what the provider computes is a property of this class alone.
    """
    found: dict[str, Any] = {}
    for field in types[fqn].get("properties", []):
        link = SCHEMA_LINK.search(json.dumps(field["docs"]))
        if link is None:
            continue
        entry: dict[str, Any] = {} if field.get("optional") else {"required": True}
        inner = _struct_of(types, field["type"])
        if inner:
            entry["fields"] = struct(types, inner, f"{inner}OutputReference")
            if "fqn" in field["type"]:
                entry["single"] = True
        else:
            entry["type"] = _cty(field["type"])
        found[link[1]] = entry
    for field in types[class_].get("properties", []):
        name = re.sub("[A-Z]", lambda match: "_" + match[0].lower(), field["name"])
        is_given = name.removesuffix("_input") in found or not field.get("immutable")
        if is_given or field.get("static") or name in NO_ATTRIBUTES:
            continue
        type_ = _cty(field["type"])
        if type_ is not None:  # computed lists of objects are read by nobody here
            found[name] = {"computed": True, "type": type_}
    return found


def _cty(type_: dict[str, Any]) -> Any:
    """A type as Terraform's plugins write it: "string", ["list", "string"], …; None: an object."""
    if "primitive" in type_:
        return {"boolean": "bool", "any": "string"}.get(type_["primitive"], type_["primitive"])
    if "collection" in type_:
        kind = {"array": "list", "map": "map"}[type_["collection"]["kind"]]
        return [kind, _cty(type_["collection"]["elementtype"]) or "string"]
    if type_.get("fqn") in ("cdktf.StringMap", "cdktf.BooleanMap", "cdktf.NumberMap"):
        return ["map", {"S": "string", "B": "bool", "N": "number"}[type_["fqn"][6]]]
    options = [_cty(each) for each in type_.get("union", {}).get("types", [])]
    return next((each for each in options if each is not None), None)


def _struct_of(types: dict[str, Any], type_: dict[str, Any]) -> str | None:
    if "fqn" in type_:
        fqn = type_["fqn"]
        return fqn if fqn.startswith("@cdktf/") and types[fqn]["kind"] == "interface" else None
    if "collection" in type_:
        return _struct_of(types, type_["collection"]["elementtype"])
    options = [_struct_of(types, each) for each in type_.get("union", {}).get("types", [])]
    return next((each for each in options if each), None)


def main() -> None:
    read = {a["name"].removeprefix("@cdktf/provider-"): (a, p) for a, p in
            (read_assembly(Path(wheel)) for wheel in sys.argv[1:])}  # fmt: skip
    schemas = {}
    for kind, name in sorted(google_types(ROOT / "terraform")):
        provider = "google-beta" if name in BETA_ONLY else "google"
        assembly, _ = read[provider]
        words = name.removeprefix("google_").split("_")
        if kind == "data":
            words = ["data", "google", *words]
        if provider == "google-beta":
            words = ["google", *words]
        camel = words[0] + "".join(word.capitalize() for word in words[1:])
        base = f"{assembly['name']}.{camel}.{camel[0].upper()}{camel[1:]}"
        schemas[f"{kind}.{name}"] = struct(assembly["types"], f"{base}Config", base)
    assembly, provider = read["google"]
    document = {"provider": provider, "bindings": assembly["version"], "schemas": schemas}
    TARGET.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(schemas)} schemas of {provider['name']} {provider['version']} in {TARGET.name}")


if __name__ == "__main__":
    main()
