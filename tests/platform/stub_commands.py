"""gcloud, terraform, bq, git, jq, pip, python and make for a shell that runs the walkthroughs.

It is the one that $STUB_NAME says. What it is told is written to $STUB_LOG; it fails as the real
command would: for an unknown flag, a required one that is missing, something that was not made
before it is used, and a `$` or `…` that a shell should have replaced.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

FLAGS = json.loads(Path(__file__).with_name("gcloud_flags.json").read_text(encoding="utf-8"))
REQUIRED = {
    "storage buckets add-iam-policy-binding": {"--member", "--role"},
    "artifacts repositories create": {"--repository-format", "--location"},
    "artifacts repositories add-iam-policy-binding": {"--member", "--role", "--location"},
    "projects add-iam-policy-binding": {"--member", "--role"},
    # Without an account the build runs as one that may do nothing in newer organisations.
    "builds submit": {"--config", "--region", "--service-account", "--substitutions"},
    "dataflow flex-template run": {"--template-file-gcs-location", "--region"},
    "workflows run": {"--location"},
    "workflows executions list": {"--location"},
}
BUILD = (
    "gcloud builds submit --config=cloudbuild.yaml --project=your-project --region=europe-west1 "
    "--service-account=projects/your-project/serviceAccounts/beam-bert-builder@x "
    "--gcs-source-staging-dir=gs://your-project-beam-bert-temp/source --substitutions="
    "_IMAGE=i/beam-bert,_TEMPLATES=gs://t,_TAG=$(git rev-parse --short HEAD)"
)


def fail(message: str) -> None:
    print(f"{os.environ['STUB_NAME']} {' '.join(sys.argv[1:])}: {message}", file=sys.stderr)
    sys.exit(1)


def main() -> None:
    name, args = os.environ["STUB_NAME"], sys.argv[1:]
    log = Path(os.environ["STUB_LOG"])
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    with log.open("a") as out:
        out.write(json.dumps([name, *args]) + "\n")
    for arg in args:
        if re.search(r"\$|…|YOUR-|\bREGION\b|\bPROJECT\b", arg):
            fail(f"{arg!r} was not filled in")
    globals()[f"{name}_"](args, done)


def gcloud_(args: list[str], done: list[list[str]]) -> None:
    words = [arg for arg in args if not arg.startswith("-")]
    commands = sorted(FLAGS["commands"], key=len, reverse=True)
    command = next((c for c in commands if words[: len(c.split())] == c.split()), None)
    if command is None:
        fail("no such command")
    given = {arg.split("=")[0] for arg in args if arg.startswith("-") and arg != "-r"}
    unknown = given - set(FLAGS["commands"][command]) - set(FLAGS["everywhere"])
    if unknown or REQUIRED.get(command, set()) - given:
        fail(f"flags: unknown {unknown}, missing {REQUIRED.get(command, set()) - given}")
    if os.environ.get("STUB_FAILS_AT") and os.environ["STUB_FAILS_AT"] in " ".join(args):
        fail("failed as it was told to")
    earlier = [" ".join(each[1:]) for each in done if each[0] == "gcloud"]
    if command != "auth login" and not any(each.startswith("auth login") for each in earlier):
        fail("you are not signed in: gcloud auth login")
    if command == "builds submit" and ["make", "pins"] not in done:
        fail("not pinned; run: make pins")
    if os.environ.get("STUB_MADE_BY") == "terraform":
        _require_applied(done)
        return
    made = "\n".join(earlier)
    positional = words[len(command.split()) :]
    for each in [*positional, *args]:
        for bucket in re.findall(r"gs://([^/]+)", each):
            if "create" not in command and f"buckets create gs://{bucket}" not in made:
                fail(f"bucket {bucket} was not made")
        for account in re.findall(r"([\w-]+)@[\w-]+\.iam\.gserviceaccount", each):
            if f"service-accounts create {account}" not in made:
                fail(f"account {account} was not made")
    if "repositories add" in command and f"repositories create {positional[0]}" not in made:
        fail(f"repository {positional[0]} was not made")
    if command == "dataflow flex-template run" and "builds submit" not in made:
        fail("nothing was built")


def _require_applied(done: list[list[str]]) -> None:
    """Everything but signing in and turning on two APIs comes after the first apply."""
    command = " ".join(sys.argv[1:3])
    if command.split()[0] in ("auth", "config") or command == "services enable":
        return
    applies = sum(each[:2] == ["terraform", "apply"] for each in done)
    built = any(each[:3] == ["gcloud", "builds", "submit"] for each in done)
    is_night = command == "workflows run"
    if applies < (2 if is_night else 1) or (is_night and not built):
        fail("what it needs was not made yet")


def terraform_(args: list[str], done: list[list[str]]) -> None:
    place = Path.cwd()
    if args[0].startswith("-chdir="):
        place /= args.pop(0).removeprefix("-chdir=")
    if not (place / "main.tf").is_file() or not (place / "terraform.tfvars").is_file():
        fail(f"no configuration in {place}")
    if args[0] != "init" and not any(each[:2] == ["terraform", "init"] for each in done):
        fail("run terraform init first")
    if args[0] == "apply":
        built = any(each[:3] == ["gcloud", "builds", "submit"] for each in done)
        named = re.search(
            r"^template\s*=\s*\"classify-1f2e3d4.json\"",
            (place / "terraform.tfvars").read_text(),
            re.M,
        )
        if built and not named:
            fail("the template that was built is not named")
    if args[:2] == ["output", "-json"]:
        names = ("raw", "models", "templates", "output", "temp")
        print(json.dumps({name: f"gs://your-project-beam-bert-{name}" for name in names}))
    if args[:2] == ["output", "-raw"]:
        print({"build_command": BUILD, "workflow": "beam-bert-nightly"}[args[2]], end="")


def jq_(args: list[str], done: list[list[str]]) -> None:
    assert args[0] == "-r"
    print(json.load(sys.stdin)[args[1].removeprefix(".")])


def git_(args: list[str], done: list[list[str]]) -> None:
    assert args == ["rev-parse", "--short", "HEAD"]
    print("1f2e3d4")


def make_(args: list[str], done: list[list[str]]) -> None:
    assert args == ["pins"] and Path("cloudbuild.yaml").is_file()


def bq_(args: list[str], done: list[list[str]]) -> None:
    assert args[:2] == ["query", "--use_legacy_sql=false"] and len(args) == 3


def pip_(args: list[str], done: list[list[str]]) -> None:
    assert args[0] == "install" and Path("pyproject.toml").is_file()


def python_(args: list[str], done: list[list[str]]) -> None:
    if args[:1] != ["-m"] or not any(each[0] == "pip" for each in done):
        fail("the package is not installed")
    places = [arg for arg in args if arg.startswith(("gs://", "--temp_location=gs://"))]
    if len(places) < 3:
        fail("Dataflow's workers see gs:// alone")


if __name__ == "__main__":
    main()
