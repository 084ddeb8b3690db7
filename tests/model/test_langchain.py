"""LangChain's standard tests for chat models, through `langchain-openai` and the gateway, against a real model.

They change the address and the key and nothing else.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from gateway.demo import MODEL_NAME
from tests.model.conftest import ANSWER_S, Demo

pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]


@pytest.mark.nightly
class TestStandard(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _reach(self, demo: Demo) -> None:
        self._demo = demo

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "base_url": self._demo.base_url,
            "api_key": self._demo.key,
            "model": MODEL_NAME,
            "max_retries": 0,
            "timeout": ANSWER_S,
        }

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return MODEL_NAME
