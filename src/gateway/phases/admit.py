"""Whether a request may go on: the model it names, and the limits of its key and team.

A long body is admitted twice: as a request before it is read, which takes time, and with what it may cost once that is known.

What is reserved: one request; the prompt's tokens and those of the answer that the caller bounds itself (EXPECTED_OUTPUT where
it does not); the price of the prompt and of the longest answer that the request admits. When the call ends the reservation is
replaced by what was used.
"""

from __future__ import annotations

import time
from itertools import islice

from _fastpath.bucket import BUDGET, CONCURRENCY, REQUESTS, TABLE_FULL, Plan, Scope, Table
from _fastpath.chat import NEEDS_TOOLS
from _fastpath.wheel import unix_ms
from gateway.base.budget import period_at
from gateway.base.calibration import script_of
from gateway.base.capabilities import BY_NAME, PARTS, Demand, certain_needs, certain_tokens, words
from gateway.base.context import Compiled, Context, KeyEntry, ModelEntry, TargetEntry
from gateway.base.errors import (
    BUDGET_EXCEEDED,
    CONTEXT_LENGTH_EXCEEDED,
    MODEL_CANNOT_SERVE,
    MODEL_NOT_ALLOWED,
    MODEL_NOT_FOUND,
    OVERLOADED,
    RATE_LIMIT_EXCEEDED,
    REQUEST_TOO_LARGE,
    GatewayError,
)
from gateway.base.image_tokens import tokens_of
from gateway.base.ports import TokenCounter
from gateway.base.snapshot import Budget, Limits, Team

EXPECTED_OUTPUT = 256
MAX_NAMED = 5
"""Models that a refusal names."""
MAX_LOOKED_AT = 1_000
"""Models of the configuration that are looked at for them."""
FAR_S = 1 << 40
"""A Unix second some 35,000 years ahead."""
_NO_LIMITS = Limits()
_PARTS = sum(BY_NAME[name] for name in PARTS)
_PROMPT = {"openai_chat": "messages", "openai_responses": "input", "anthropic": "messages", "gemini": "contents"}
"""Where a prompt stands, by the dialect."""


def key_scope(key_id: str) -> bytes:
    """The name of a key's limits, for ever."""
    return b"key/" + key_id.encode()


def team_scope(team: str) -> bytes:
    """The name of a team's limits, for ever."""
    return b"team/" + team.encode()


class Admission:
    """Admits requests against the node's table of limits."""

    def __init__(self, table: Table, counter: TokenCounter, teams: dict[str, Team]) -> None:
        self._table = table
        self._counter = counter
        self._teams = teams

    def with_teams(self, teams: dict[str, Team]) -> Admission:
        """The same for another snapshot."""
        return Admission(self._table, self._counter, teams)

    def compile(self, entry: KeyEntry) -> None:
        """Makes the plan of a key for the budget periods of now."""
        now_s = time.time()
        entry.budget_ends_s, entry.tokens_per_minute = FAR_S, -1
        key, team = entry.key, self._teams.get(entry.team)
        scopes: list[Scope] = []
        names: list[str] = []
        for name, scope_id, limits, budget in (
            (f"key {key.name!r}", key_scope(key.id), key.limits, key.budget),
            (
                f"team {entry.team!r}",
                team_scope(entry.team),
                *((team.limits, team.budget) if team else (_NO_LIMITS, None)),
            ),
        ):
            if limits == _NO_LIMITS and budget is None:
                continue
            period, ends_s = 0, entry.budget_ends_s
            if budget is not None:
                period, _, ends_s = period_at(budget.per, now_s)
            entry.budget_ends_s = min(entry.budget_ends_s, ends_s)
            scopes.append(_scope(scope_id, limits, budget, period))
            names.append(name)
            per_minute = limits.tokens_per_minute
            if per_minute is not None and (entry.tokens_per_minute < 0 or per_minute < entry.tokens_per_minute):
                entry.tokens_per_minute = per_minute
        entry.scope_names = names
        entry.plan = self._table.plan(scopes) if scopes else None

    def enter(self, ctx: Context) -> None:
        """Debits a request whose body is long before it is read, and keeps it debited. Raises GatewayError (402, 429, 503)."""
        entry = ctx.key
        assert entry is not None
        plan = self._plan_of(entry)
        if plan is None:
            return
        refused = plan.admit(0, 0)
        if refused:
            raise _refusal(entry, plan, refused, 0)
        ctx.plan = plan
        ctx.counts = True

    def pass_on(self, ctx: Context, *, costs: bool) -> None:
        """Debits a request of which nothing else is known: a spent budget refuses what may cost something. Raises GatewayError (402, 429, 503)."""
        entry = ctx.key
        assert entry is not None
        plan = self._plan_of(entry)
        if plan is None:
            return
        nano_usd = 1 if costs else 0
        refused = plan.admit(0, nano_usd)
        if refused:
            raise _refusal(entry, plan, refused, 0)
        ctx.plan = plan
        ctx.reserved_nano_usd = nano_usd
        ctx.limit_fields = plan.limit_fields()

    def _plan_of(self, entry: KeyEntry) -> Plan | None:
        if unix_ms() >= entry.budget_ends_s * 1_000:
            self.compile(entry)
        return entry.plan

    def admit(self, ctx: Context) -> None:
        """Sets `ctx.model` and the reservation. Raises GatewayError (402, 403, 404, 429, 503)."""
        reading, entry = ctx.reading, ctx.key
        assert reading is not None and entry is not None
        model = ctx.model = find_model(ctx.compiled, entry, reading.model)
        prompt = counted = self._counter.count(reading.texts, model.encoding)
        if model.calibrations is not None:
            ctx.counted_tokens = prompt
            script = script_of(reading.texts)
            prompt = max([calibration.of(script).corrected(prompt) for calibration in model.calibrations])
        if reading.images is not None:
            reading.fixed_tokens += tokens_of(reading.images, reading.more_images, model.image_costs)
        ctx.prompt_tokens = prompt = prompt + reading.fixed_tokens
        if reading.needs & model.lacks or prompt > model.least_context_tokens:
            self._pass_over(ctx, counted)
        plan = ctx.plan if ctx.plan is not None else self._plan_of(entry)
        if plan is None:
            return
        bound = reading.max_output_tokens
        tokens = prompt + (EXPECTED_OUTPUT if bound < 0 else bound) * reading.choices
        if prompt <= entry.tokens_per_minute < tokens:
            tokens = (
                entry.tokens_per_minute
            )  # the prompt fits: what the answer takes beyond is debited when it is known
        rates = model.rates
        nano_usd = 0
        if rates is not None:
            nano_usd = rates.most(prompt, (model.max_output_tokens if bound < 0 else bound) * reading.choices)
        if ctx.plan is not None:  # it has entered: debited once more, with all that it may take
            plan.cancel(0, 0)
            ctx.plan = None
        refused = plan.admit(tokens, nano_usd)
        if refused:
            error = _refusal(entry, plan, refused, tokens)
            if ctx.counts and plan.admit(0, 0) == 0:
                ctx.plan = plan
            raise error
        ctx.plan = plan
        ctx.reserved_tokens = tokens
        ctx.reserved_nano_usd = nano_usd
        ctx.limit_fields = plan.limit_fields()

    def _pass_over(self, ctx: Context, counted: int) -> None:
        """Excludes the targets that cannot serve the request.

        Args:
            counted: tokens of the texts of its prompt.

        Raises:
            GatewayError: none of the model's, or of its fallbacks', can.
        """
        reading, model, endpoint = ctx.reading, ctx.model, ctx.endpoint
        assert reading is not None and model is not None and endpoint is not None
        if endpoint.operation != "conversation" or not endpoint.translates:  # it counts, embeds or completes
            return
        as_it_stands = reading.request is None and not reading.needs & NEEDS_TOOLS
        exact = as_it_stands and self._counter.exactly(reading.texts, model.encoding) is not None
        needs = certain_needs(reading, ctx.exchange.body)
        demand = Demand(needs, *certain_tokens(reading, ctx.exchange, counted, exact=exact))
        targets = [(target, entry) for entry in (model, *model.fallbacks) for target in entry.targets]
        unable = [t for t, entry in targets if not demand.met_by(t.target, own=_counts_so(entry, t, model.encoding))]
        if len(unable) == len(targets):
            raise _nobody_can(ctx, demand)
        ctx.excluded = frozenset(unable)


def _counts_so(entry: ModelEntry, target: TargetEntry, encoding: str) -> bool:
    """Whether that is the target's own vocabulary: a model's is that of its first target."""
    same_model = target.target.model == entry.targets[0].target.model
    return entry.calibrations is None and entry.encoding == encoding and same_model


def _scope(scope_id: bytes, limits: Limits, budget: Budget | None, period: int) -> Scope:
    def of(value: int | None) -> int:
        return -1 if value is None else value

    return Scope(
        scope_id,
        of(limits.requests_per_minute),
        of(limits.tokens_per_minute),
        of(limits.concurrency),
        -1 if budget is None else budget.nano_usd,
        period,
    )


def find_model(compiled: Compiled, entry: KeyEntry, name: str) -> ModelEntry:
    """The model of that name, if the key may use it. Raises GatewayError (403, 404)."""
    model = compiled.models.get(name)
    if model is None:
        raise GatewayError(
            MODEL_NOT_FOUND,
            f"There is no model {name[:200]!r}. GET /v1/models lists those that this key may use.",
            param="model",
        )
    if not entry.allowed.get(name, False):
        raise GatewayError(MODEL_NOT_ALLOWED, f"This key may not use the model {name!r}.", param="model")
    return model


def _nobody_can(ctx: Context, demand: Demand) -> GatewayError:
    """A request that neither its model nor a fallback can serve."""
    model, endpoint = ctx.model, ctx.endpoint
    assert model is not None and endpoint is not None
    name, others = model.model.name, _others(ctx, demand)
    lacking = [demand.lacking(target.target) for target in model.targets]
    if not all(lacking):  # one of them would take it if it were shorter
        longest = max(target.target.context_tokens for target in model.targets)
        what = f"The prompt has about {ctx.prompt_tokens:,} tokens; the context of the model {name!r} has {longest:,}."
        return GatewayError(CONTEXT_LENGTH_EXCEEDED, f"{what} {others}", param=_PROMPT[endpoint.dialect.name])
    told = words(min(lacking))
    param = None if min(lacking) & ~_PARTS else _PROMPT[endpoint.dialect.name]
    what = f"The model {name!r} does not take or offer what the request asks for: {told}."
    return GatewayError(MODEL_CANNOT_SERVE, f"{what} {others}", param=param)


def _others(ctx: Context, demand: Demand) -> str:
    """Which models of the key could serve it: first those of which something is known."""
    key, model = ctx.key, ctx.model
    assert key is not None and model is not None
    known: list[str] = []
    unknown: list[str] = []
    for name, entry in islice(ctx.compiled.models.items(), MAX_LOOKED_AT):
        if len(known) == MAX_NAMED:
            break
        if not key.allowed.get(name, False):
            continue
        so = model.encoding
        able = [t.target for t in entry.targets if demand.met_by(t.target, own=_counts_so(entry, t, so))]
        if able:
            (known if any(t.context_tokens or t.lacks for t in able) else unknown).append(name)
    named = [*known, *unknown][:MAX_NAMED]
    if not named:
        return "No model that this key may use is known to serve it."
    return f"Of the models that this key may use, these may serve it: {', '.join(map(repr, named))}."


def _refusal(entry: KeyEntry, plan: Plan, refused: int, tokens: int) -> GatewayError:
    if refused == TABLE_FULL:
        return GatewayError(OVERLOADED, "The node's table of limits is full.", retry_after_ms=1_000)
    scope = entry.scope_names[plan.refused_scope]
    if refused == BUDGET:
        return GatewayError(
            BUDGET_EXCEEDED, f"The budget of {scope} for this period does not cover what this request may cost."
        )
    retry_after_ms = plan.retry_after_ms
    if refused == CONCURRENCY:
        limit, retry_after_ms = "concurrent requests", 1_000
    elif refused == REQUESTS:
        limit = "requests per minute"
    elif retry_after_ms < 0:
        message = f"The request asks for {tokens} tokens, more than the tokens per minute of {scope} ever admit."
        return GatewayError(REQUEST_TOO_LARGE, message)
    else:
        limit = "tokens per minute"
    return GatewayError(
        RATE_LIMIT_EXCEEDED,
        f"The limit of {limit} of {scope} is reached. Retry in {max(retry_after_ms, 1) / 1_000:.3g} s.",
        retry_after_ms=max(retry_after_ms, 1),
        fields=plan.limit_fields(),
    )
