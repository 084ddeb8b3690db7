"""Who issues the tokens that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.adapters import entra_tokens, google_tokens
from gateway.base.ports import TokenSource
from gateway.base.snapshot import Auth


def token_source(auth: Auth, resolve: Callable[[str], str], environ: Mapping[str, str]) -> TokenSource:
    """Args: resolve: the secret behind a reference; raises ValueError. environ: what describes a workload's identity."""
    match auth.kind:
        case "google_service_account":
            return google_tokens.ServiceAccountTokens(auth)
        case "google_metadata":
            return google_tokens.MetadataTokens(auth)
        case "entra_client_secret":
            return entra_tokens.ClientSecretTokens(auth, resolve)
        case "entra_managed_identity":
            return entra_tokens.ManagedIdentityTokens(auth)
        case "entra_workload_identity":
            return entra_tokens.WorkloadIdentityTokens(auth, environ)
