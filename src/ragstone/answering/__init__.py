"""From hits to a cited answer: grounding, packing, prompt, chat model or extraction, checked citations."""

from ragstone.answering.answer import answer_events
from ragstone.answering.chat_model import ChatDelta, ChatModel, Message, OpenAIChatModel
from ragstone.answering.prompt import standalone_question
from ragstone.answering.templates import Templates, load_templates

__all__ = [
    "ChatDelta",
    "ChatModel",
    "Message",
    "OpenAIChatModel",
    "Templates",
    "answer_events",
    "load_templates",
    "standalone_question",
]
