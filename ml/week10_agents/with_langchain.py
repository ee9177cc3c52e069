"""The same agent in LangChain 1: ``create_agent`` with our tools, at the same endpoint.

Idea.    LangChain's agent is the loop of ``loop.py`` drawn as a graph: a model node and a tool node, and an edge
         back. What it leaves to its user is what ``executor.py`` does: it has no limit on requests but the graph's
         recursion limit, lets a tool be called twice with the same arguments, and ends with an exception where a tool
         raises. Limits, retries and approvals exist as middleware that one has to ask for.
Source.  docs.langchain.com, "Agents" and "Middleware" (langchain 1.4).
Left out. Memory between questions (a checkpointer), structured answers, streaming.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import openai
from langchain.agents import create_agent
from langchain.agents.middleware import ModelCallLimitMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool, ToolException
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from ml.week10_agents.chat import ChatSettings
from ml.week10_agents.loop import OUT_OF_TIME, SYSTEM
from ml.week10_agents.record import Asked, Called, Limits, Trace
from ml.week10_agents.tools import Tool, ToolError


def langchain_tool(tool: Tool, trace: Trace) -> StructuredTool:
    """Our tool as LangChain's. Its expected failures go back to the model as words; that, too, has to be asked for."""

    async def call(**arguments: Any) -> str:
        started = trace.now()
        try:
            result = await tool.call(**arguments)
        except ToolError as error:
            trace.called.append(Called(0, tool.name, arguments, "failed", str(error), started, trace.now() - started))
            raise ToolException(f"Error: {error}") from error
        text = json.dumps(result, ensure_ascii=False)
        trace.called.append(Called(0, tool.name, arguments, "ok", text, started, trace.now() - started, result))
        return text

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=dict(tool.schema),
        coroutine=call,
        handle_tool_error=True,
    )


async def answer(question: str, settings: ChatSettings, tools: Iterable[Tool], limits: Limits | None = None) -> Trace:
    """Ask LangChain's agent. Tools that write are left out: approvals are a middleware of their own
    (``HumanInTheLoopMiddleware``, which needs a checkpointer)."""
    limits = limits or Limits()
    trace = Trace(question, "LangChain")
    async with openai.DefaultAsyncHttpxClient(timeout=settings.timeout) as client:  # or its sockets are left open
        model = ChatOpenAI(
            model=settings.model,
            base_url=settings.base_url,
            api_key=SecretStr(settings.api_key),
            temperature=0,
            http_async_client=client,
        )
        agent = create_agent(
            model,
            [langchain_tool(tool, trace) for tool in tools if not tool.writes],
            system_prompt=SYSTEM,
            middleware=[ModelCallLimitMiddleware(run_limit=limits.steps, exit_behavior="end")],
        )
        try:
            async with asyncio.timeout(limits.seconds):
                state = await agent.ainvoke({"messages": [{"role": "user", "content": question}]})
        except TimeoutError:
            trace.answer, trace.reason = OUT_OF_TIME, "deadline"
            return trace
    _record(trace, state["messages"])
    return trace


def _record(trace: Trace, messages: list[Any]) -> None:
    """The final answer, and the tokens of each request, from LangChain's messages."""
    for message in messages:
        if isinstance(message, AIMessage) and message.usage_metadata:
            used = message.usage_metadata
            step = len(trace.asked) + 1
            trace.asked.append(Asked(step, 0.0, 0.0, used["input_tokens"], used["output_tokens"]))
    trace.answer = str(messages[-1].content)
