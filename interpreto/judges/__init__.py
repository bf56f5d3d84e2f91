"""Judges: models, servers and functions that write labels of concepts and decide whether texts fit them."""

from interpreto.judges.base import Answer, Judge, Usage
from interpreto.judges.cache import CachedJudge
from interpreto.judges.endpoint import EndpointJudge
from interpreto.judges.function import CallableJudge
from interpreto.judges.llm_interface import LLMInterface, OpenAILLM, Role
from interpreto.judges.local import LocalJudge
from interpreto.judges.qualification import Qualification

__all__ = [
    "Answer",
    "CachedJudge",
    "CallableJudge",
    "EndpointJudge",
    "Judge",
    "LLMInterface",
    "LocalJudge",
    "OpenAILLM",
    "Qualification",
    "Role",
    "Usage",
]
