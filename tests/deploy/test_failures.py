"""What a user is told when AWS refuses something or gives up."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner
from s3_servers import S3Server, free_port

from starling_py.cli.main import main
from starling_py.deploy.aws import Aws
from starling_py.deploy.bundle import Bundle
from starling_py.deploy.contents import COORDINATOR
from starling_py.deploy.deployment import template
from starling_py.deploy.errors import DeployDenied, DeployError, StackBusy, StackFailed
from starling_py.deploy.stack import Stack
from starling_py.errors import CredentialsExpired, CredentialsMissing, UsageError

NAMESPACE = "http://cloudformation.amazonaws.com/doc/2010-05-15/"
ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/s/1"
Event = tuple[str, str, str]


class CloudFormation:
    """Answers CloudFormation's API as a script says.

    ``statuses`` are what the stack is at one look after the other; the last one stays, and
    ``None`` is no stack. ``events`` are the stack's, newest first: resource, status, reason.
    """

    def __init__(self) -> None:
        self.statuses: list[str | None] = [None]
        self.events: list[Event] = []
        self.refusal: tuple[int, str, str] | None = None
        self.refused = ""  # the action, or all of them
        self.actions: list[str] = []

    def answer(self, action: str) -> tuple[int, str]:
        self.actions.append(action)
        if self.refusal and self.refused in ("", action):
            status, code, message = self.refusal
            return status, error(code, message)
        if action == "DescribeStacks":
            now = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if now is None:
                return 400, error("ValidationError", "Stack with id s does not exist")
            inner = f"<Stacks><member><StackName>s</StackName><StackId>{ID}</StackId>"
            inner += f"<StackStatus>{now}</StackStatus></member></Stacks>"
        elif action == "DescribeStackEvents":
            inner = "<StackEvents>" + "".join(map(_event, self.events)) + "</StackEvents>"
        else:
            inner = f"<StackId>{ID}</StackId>"
        body = f"<{action}Result>{inner}</{action}Result>"
        return 200, f'<{action}Response xmlns="{NAMESPACE}">{body}</{action}Response>'


def error(code: str, message: str) -> str:
    inner = f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>"
    return f'<ErrorResponse xmlns="{NAMESPACE}"><Error>{inner}</Error></ErrorResponse>'


def _event(event: Event) -> str:
    resource, status, reason = event
    return (
        f"<member><StackId>{ID}</StackId><StackName>s</StackName><EventId>1</EventId>"
        f"<LogicalResourceId>{resource}</LogicalResourceId><ResourceStatus>{status}"
        f"</ResourceStatus><ResourceStatusReason>{reason}</ResourceStatusReason></member>"
    )


@pytest.fixture
def formation(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormation]:
    """CloudFormation by a script, to which the environment leads."""
    script = CloudFormation()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, text = script.answer(parse_qs(form)["Action"][0])
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    at = S3Server(f"http://127.0.0.1:{server.server_port}")
    for name, value in at.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    yield script
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def stack(formation: CloudFormation) -> Iterator[Stack]:
    formation.statuses = [None]
    with contextlib.closing(Aws()) as aws:
        yield Stack(aws, "s", seconds=5)


def test_a_creation_that_fails_tells_why_and_leaves_no_stack(
    stack: Stack, formation: CloudFormation
):
    formation.statuses = [
        None,
        "CREATE_IN_PROGRESS",
        "ROLLBACK_COMPLETE",
        "ROLLBACK_COMPLETE",
        "DELETE_COMPLETE",
    ]
    formation.events = [
        ("s", "ROLLBACK_COMPLETE", ""),
        ("WorkerLogs", "CREATE_FAILED", "Resource creation cancelled"),
        ("WorkerRole", "CREATE_FAILED", "not authorized to perform: iam:CreateRole"),
        ("s", "CREATE_IN_PROGRESS", "User Initiated"),
        ("Worker", "UPDATE_FAILED", "of an earlier change"),
    ]
    with pytest.raises(StackFailed, match="removed again") as raised:
        stack.apply(template(), {})
    assert "WorkerRole: not authorized to perform: iam:CreateRole" in raised.value.message
    assert "cancelled" not in raised.value.message
    assert "earlier" not in raised.value.message
    assert formation.actions.count("DeleteStack") == 1


def test_an_update_that_fails_leaves_the_stack_as_it_was(stack: Stack, formation: CloudFormation):
    formation.statuses = [
        "CREATE_COMPLETE",
        "UPDATE_IN_PROGRESS",
        "UPDATE_ROLLBACK_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE",
    ]
    formation.events = [("Worker", "UPDATE_FAILED", "no such key")]
    with pytest.raises(StackFailed, match=r"as it was before\n  Worker: no such key"):
        stack.apply(template(), {})
    assert "DeleteStack" not in formation.actions


def test_a_stack_that_was_never_made_is_removed_first(stack: Stack, formation: CloudFormation):
    formation.statuses = [
        "ROLLBACK_COMPLETE",
        "ROLLBACK_COMPLETE",
        "DELETE_COMPLETE",
        "CREATE_COMPLETE",
    ]
    assert stack.apply(template(), {})
    changes = [action for action in formation.actions if not action.startswith("Describe")]
    assert changes == ["DeleteStack", "CreateStack"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("UPDATE_IN_PROGRESS", StackBusy),
        ("DELETE_IN_PROGRESS", StackBusy),
        ("UPDATE_ROLLBACK_FAILED", StackFailed),
        ("DELETE_FAILED", StackFailed),
    ],
)
def test_a_stack_that_cannot_be_changed(
    stack: Stack, formation: CloudFormation, status: str, kind: type[DeployError]
):
    formation.statuses = [status]
    with pytest.raises(kind, match=status):
        stack.apply(template(), {})
    assert set(formation.actions) == {"DescribeStacks"}


def test_nobody_waits_for_ever(formation: CloudFormation):
    formation.statuses = [None, "CREATE_IN_PROGRESS"]
    with contextlib.closing(Aws()) as aws, pytest.raises(StackFailed, match="not done after"):
        Stack(aws, "s", seconds=0.1).apply(template(), {})


def test_a_stack_that_cannot_be_removed(stack: Stack, formation: CloudFormation):
    formation.statuses = ["CREATE_COMPLETE", "DELETE_IN_PROGRESS", "DELETE_FAILED"]
    formation.events = [("ScratchBucket", "DELETE_FAILED", "The bucket is not empty")]
    with pytest.raises(StackFailed, match="ScratchBucket: The bucket is not empty"):
        stack.delete()


def test_nothing_to_update(stack: Stack, formation: CloudFormation):
    formation.refused = "UpdateStack"
    formation.refusal = (400, "ValidationError", "No updates are to be performed.")
    formation.statuses = ["CREATE_COMPLETE"]
    assert stack.apply(template(), {}) is False


@pytest.mark.parametrize(
    ("status", "code", "kind", "text"),
    [
        (403, "AccessDenied", DeployDenied, "cloudformation:CreateStack"),
        (403, "ExpiredToken", CredentialsExpired, "expired"),
        (403, "InvalidClientTokenId", CredentialsMissing, "does not know"),
        (400, "LimitExceeded", DeployError, "LimitExceeded"),
    ],
)
def test_refusals(
    formation: CloudFormation,
    status: int,
    code: str,
    kind: type[DeployError],
    text: str,
):
    formation.refusal = (status, code, "User arn:aws:iam::123456789012:user/secret-name")
    with contextlib.closing(Aws()) as aws, pytest.raises(kind, match=text) as raised:
        aws.call("cloudformation", "create_stack", StackName="s", TemplateBody="{}")
    if status == 403:
        assert "secret-name" not in str(raised.value)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3Server(f"http://127.0.0.1:{free_port()}").environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)


@pytest.mark.usefixtures("nowhere")
def test_no_credentials(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialsMissing):
        Aws()


@pytest.mark.usefixtures("nowhere")
def test_no_region(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(UsageError, match="region"):
        Aws()
    assert Aws("eu-west-1").region == "eu-west-1"


@pytest.mark.usefixtures("nowhere")
def test_no_such_profile():
    with pytest.raises(CredentialsMissing, match="profile"):
        Aws(profile="nobody")


@pytest.mark.usefixtures("nowhere")
def test_nobody_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("starling_py.deploy.aws._ATTEMPTS", 1)
    with contextlib.closing(Aws()) as aws, pytest.raises(DeployError, match="cannot be asked"):
        aws.call("cloudformation", "describe_stacks")


def starling(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, list(arguments))
    return done.exit_code, done.stdout, done.stderr


def test_the_template_is_printed():
    assert starling("deploy", "--print-template") == (0, template(), "")


def test_deploy_needs_a_bucket():
    code, _, said = starling("deploy")
    assert code == 2
    assert "--bucket" in said


@pytest.mark.usefixtures("cloud")
def test_commands(small: Bundle, small_coordinator: Bundle):
    bundles = ("--bundle", str(small.path), "--coordinator-bundle", str(small_coordinator.path))
    named = ("--name", "from-commands")
    code, out, said = starling("deploy", *named, "--bucket", "from-commands", *bundles)
    assert (code, "from-commands-worker" in out, "making" in said) == (0, True, True)
    assert "coordinator from-commands-coordinator\n" in out
    code, out, _ = starling("status", *named, "--format", "json")
    assert code == 0
    assert json.loads(out)["scratch"] == "s3://from-commands/starling/scratch"
    code, _, said = starling("undeploy", *named)
    assert code == 2
    assert "--yes" in said
    assert starling("undeploy", *named, "--yes")[0] == 0
    code, _, said = starling("status", *named)
    assert (code, "no deployment from-commands" in said) == (1, True)


@pytest.mark.usefixtures("cloud")
def test_a_bundle_of_another_version_is_told(make_bundle: Callable[..., Bundle]):
    bundle = make_bundle(version="0.0.1+1")
    other = make_bundle("other.zip", version="0.0.1+1", handler=COORDINATOR.handler)
    named = ("--name", "of-another-version")
    words = ("--bundle", str(bundle.path), "--coordinator-bundle", str(other.path))
    starling("deploy", *named, "--bucket", "of-another-version", *words)
    assert "0.0.1+1: deploy again" in starling("status", *named)[1]
    assert starling("undeploy", *named, "--yes")[0] == 0
