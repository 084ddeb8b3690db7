"""Signatures, held against botocore's: of any path, body, credential and moment."""

from __future__ import annotations

import datetime
from unittest import mock
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.codec.sigv4 import Credential, PathSigning, Signer, canonical_path
from tests.support.amazon import ACCESS_KEY, SECRET_KEY, signature_fault

PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
CREDENTIALS = st.builds(Credential, PRINTABLE, PRINTABLE, st.just("") | PRINTABLE)
MODELS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40),
    st.sampled_from(
        [
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
            "..",
            ".",
            "a%2Fb",
        ]
    ),
)


def signed_by_botocore(
    path: str, body: bytes, host: str, region: str, credential: Credential, at_s: int
) -> dict[str, str]:
    request = AWSRequest("POST", f"https://{host}{path}", {"content-type": "application/json", "host": host}, data=body)
    shown = Credentials(credential.access_key_id, credential.secret_access_key, credential.session_token or None)
    at = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=at):
        SigV4Auth(shown, "bedrock", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def lines(fields: bytes) -> dict[str, str]:
    assert fields.endswith(b"\r\n")
    return dict(line.split(": ", 1) for line in fields.decode().split("\r\n")[:-1])


@given(
    MODELS,
    st.sampled_from(["", "/proxy", "/a//b"]),
    st.binary(max_size=100),
    st.sampled_from(["bedrock-runtime.eu-west-1.amazonaws.com", "127.0.0.1:8443"]),
    st.sampled_from(["eu-west-1", "us-gov-east-1"]),
    CREDENTIALS,
    st.integers(0, 4_000_000_000),
)
@example("m", "", b"{}", "h", "r", Credential("A", "S", "T"), 0)
def test_a_request_is_signed_as_botocore_signs_it(
    model: str, prefix: str, body: bytes, host: str, region: str, credential: Credential, at_s: int
) -> None:
    path = f"{prefix}/model/{quote(model, safe='')}/converse-stream"
    theirs = signed_by_botocore(path, body, host, region, credential, at_s)
    ours = lines(Signer(lambda: credential, region, "bedrock", host).sign(canonical_path(path), body, at_s))
    assert ours == {name: theirs[name] for name in ours}
    assert set(theirs) - set(ours) == {"content-type", "host"}


@given(MODELS)
def test_a_model_is_quoted_as_botocore_quotes_it(model: str) -> None:
    assert quote(model, safe="") == percent_encode(model)


def test_a_key_is_made_anew_for_another_day_and_another_credential() -> None:
    shown = [Credential("A", "S"), Credential("A", "S2", "T")]
    signer = Signer(lambda: shown[0], "r", "bedrock", "h")
    for at_s in (86_399, 86_400, 86_401):
        theirs = signed_by_botocore("/x", b"", "h", "r", shown[0], at_s)
        assert lines(signer.sign("/x", b"", at_s))["authorization"] == theirs["authorization"]
    shown.pop(0)
    theirs = signed_by_botocore("/x", b"", "h", "r", shown[0], 86_401)
    assert lines(signer.sign("/x", b"", 86_401))["authorization"] == theirs["authorization"]


@pytest.mark.parametrize("change", ["path", "body", "host", "date", "secret", "token", "nothing"])
def test_the_tests_own_bedrock_finds_a_signature_of_another_request(change: str) -> None:
    credential = Credential(ACCESS_KEY, SECRET_KEY, "T")
    signing = PathSigning(Signer(lambda: credential, "us-east-1", "bedrock", "h"), "/model/a%3A0/converse")
    fields = signing.fields(b"{}")
    head = b"POST /model/a%3A0/converse HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n" + fields
    told = {"secret": SECRET_KEY, "token": "T"}
    match change:
        case "path":
            head = head.replace(b"converse HTTP", b"converse-stream HTTP")
        case "host":
            head = head.replace(b"host: h", b"host: i")
        case "date":
            head = head.replace(b"x-amz-date: 20", b"x-amz-date: 21")
        case "secret" | "token":
            told[change] = "other"
    fault = signature_fault(head, b"{ }" if change == "body" else b"{}", **told)
    assert (fault == "") == (change == "nothing"), fault
