"""How much a model is to think, in this dialect's words, and what goes together with thinking.

Models since Claude 4.6 decide for themselves (`thinking: adaptive`) and are told an effort (`output_config.effort`); older ones, and
those of other makers, are given a budget: at least 1,024 tokens and less than `max_tokens`, which it is a part of. A budget that does
not fit is cut to four fifths of `max_tokens`; where even that is too little, the model does not think.

With thinking on, `temperature` must be 1, `top_p` from 0.95, `top_k` unset, and no tool may be forced. A forced tool says what the answer
is, thinking how well it is made up: so the tool stays, and thinking is off, which `lost` is told of. Where thinking can never be off, the
choice is lost. With a budget, a turn that calls tools and is not yet answered must begin with a signed thought; one that another provider
has begun has none, and the model goes on without thinking.
"""

from __future__ import annotations

from typing import Any

from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.base.messages import DialectName, Lost, Reasoning, Request, Thinking, ToolCall, ToolResult
from gateway.codec.dialects.anthropic._models import EFFORTS, Traits
from gateway.codec.efforts import BUDGETS, effort_of

MIN_BUDGET = 1_024


def write_thinking(
    request: Request, traits: Traits, out: dict[str, Any], lost: Lost, *, own: DialectName = "anthropic"
) -> bool:
    """Writes `thinking` and `output_config.effort` into `out`; returns whether the model is asked to think.

    Args:
        own: whose signatures the provider trusts.
    """
    asked = request.reasoning
    if asked is None or (
        asked.effort is None and asked.budget_tokens is None and not asked.adaptive and not asked.shown
    ):
        return False
    if asked.effort == "none" or traits.thinking == "none":
        if asked.effort != "none":
            lost.hint("reasoning")
        _turn_off(traits, None, out, lost)
        return False
    if traits.thinking == "adaptive":
        return _write_adaptive(request, asked, traits, out, lost)
    return _write_budget(request, asked, traits, out, lost, own=own)


def _forces(request: Request) -> bool:
    return request.tool_choice is not None and request.tool_choice.mode in ("required", "one")


def _turn_off(traits: Traits, effort: str | None, out: dict[str, Any], lost: Lost) -> None:
    if traits.thinking == "none":
        return
    if not traits.can_be_off:
        lost.hint("reasoning")
        effort = effort or "low"
    else:
        out["thinking"] = {"type": "disabled"}
        if effort is not None and EFFORTS.index(effort) > EFFORTS.index(traits.most_effort_off):
            effort = traits.most_effort_off
    if effort is not None:
        out["output_config"] = {"effort": effort}


def _write_adaptive(request: Request, asked: Reasoning, traits: Traits, out: dict[str, Any], lost: Lost) -> bool:
    effort = _effort(asked, traits, lost)
    if _forces(request) and traits.forced_tools and traits.can_be_off:
        lost.hint("reasoning")
        _turn_off(traits, effort, out, lost)
        return False
    thinking = {"type": "adaptive"}
    if asked.shown is not None:
        thinking["display"] = "summarized" if asked.shown else "omitted"
    out["thinking"] = thinking
    if effort is not None:
        out["output_config"] = {"effort": effort}
    return True


def _effort(asked: Reasoning, traits: Traits, lost: Lost) -> str | None:
    effort: str | None = asked.effort
    if effort is None:
        if asked.budget_tokens is None:
            return None
        effort = effort_of(asked.budget_tokens)
    if effort == "minimal":
        return "low"
    if effort not in traits.efforts:  # xhigh, where there is none
        lost.hint("reasoning.effort")
        return "high"
    return effort


def _write_budget(
    request: Request, asked: Reasoning, traits: Traits, out: dict[str, Any], lost: Lost, *, own: DialectName
) -> bool:
    effort = asked.effort
    budget = asked.budget_tokens if asked.budget_tokens is not None else BUDGETS[effort or "high"]
    budget = max(budget, MIN_BUDGET)
    most = request.max_output_tokens
    if most is not None and budget >= most:
        budget = most * 4 // 5
    if budget < MIN_BUDGET or _forces(request) or _goes_on_unsigned(request, own):
        lost.hint("reasoning")
        return False
    out["thinking"] = {"type": "enabled", "budget_tokens": budget}
    if asked.shown is False:
        out["thinking"]["display"] = "omitted"
    if effort is not None and effort in traits.efforts:
        out["output_config"] = {"effort": effort}
    return True


def _goes_on_unsigned(request: Request, own: DialectName) -> bool:
    """Whether the model is amid a turn of calls and results that does not begin with a thought of its own."""
    turn_has_call = False
    thought = False
    for message in reversed(request.messages):
        if message.role == "assistant":
            turn_has_call = turn_has_call or any(type(block) is ToolCall for block in message.blocks)
            first = message.blocks[0] if message.blocks else None
            thought = isinstance(first, Thinking) and first.signature is not None and first.signature.dialect == own
            break
        if message.role == "user" and not any(type(block) is ToolResult for block in message.blocks):
            return False
    return turn_has_call and not thought


def write_sampling(request: Request, traits: Traits, thinks: bool, out: dict[str, Any], lost: Lost) -> None:
    """`temperature`, `top_p` and `top_k`, as far as they may stand beside the rest."""
    temperature, top_p, top_k = request.temperature, request.top_p, request.top_k
    if not traits.sampling or thinks:
        if temperature is not None and temperature != 1:
            lost.field("temperature")
        if top_k is not None:
            lost.field("top_k")
        if top_p is not None and top_p != 1:
            if traits.sampling and top_p >= 0.95:
                out["top_p"] = top_p
            else:
                lost.field("top_p")
        return
    if temperature is not None:
        if temperature > 1:
            lost.field("temperature")
            temperature = 1.0
        out["temperature"] = temperature
    if top_p is not None:
        if temperature is None or not traits.one_of_temperature_and_top_p:
            out["top_p"] = top_p
        elif top_p != 1:
            lost.field("top_p")
    if top_k is not None:
        out["top_k"] = top_k


def bounded_max_tokens(request: Request) -> int:
    if request.max_output_tokens is None:
        raise GatewayError(INVALID_VALUE, "'max_tokens' is missing.", param="max_tokens")
    return request.max_output_tokens
