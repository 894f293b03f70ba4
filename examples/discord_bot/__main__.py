"""A Discord bot that answers `/ask` from a running ragstone service.

    pip install 'ragstone[client]' 'discord.py>=2.4'
    DISCORD_TOKEN=… RAGSTONE_URL=http://127.0.0.1:8000 RAGSTONE_KEY=rgs_… python examples/discord_bot

The token and the key are read from the environment and written nowhere. The bot needs no privileged intent: it reads
no messages, only what it is asked with `/ask`.
"""

from __future__ import annotations

import os
import sys

from discord_answers import Answers

from ragstone import AsyncClient

try:
    import discord
except ModuleNotFoundError:
    sys.exit("error: discord.py is not installed\nhint: pip install 'discord.py>=2.4'")


def commands(client: discord.Client, answers: Answers) -> discord.app_commands.CommandTree:
    """The bot's one command."""
    tree = discord.app_commands.CommandTree(client)

    async def ask(interaction: discord.Interaction, question: str) -> None:
        await interaction.response.defer(
            thinking=True
        )  # an answer may take longer than Discord's three seconds

        async def show(text: str) -> None:
            nobody = discord.AllowedMentions.none()
            await interaction.edit_original_response(content=text, allowed_mentions=nobody)

        await answers.answer(question, show, channel=interaction.channel_id or 0, person=interaction.user.id)

    tree.add_command(
        discord.app_commands.Command(name="ask", description="Ask the documents a question", callback=ask)
    )
    return tree


def main() -> None:
    """Connect and answer until stopped."""
    token = os.environ.get("DISCORD_TOKEN")
    if not token:
        sys.exit(
            "error: DISCORD_TOKEN is not set\nhint: https://discord.com/developers/applications, Bot, Token"
        )
    url = os.environ.get("RAGSTONE_URL", "http://127.0.0.1:8000")
    client = discord.Client(intents=discord.Intents.none())
    tree = commands(client, Answers(AsyncClient(url, key=os.environ.get("RAGSTONE_KEY"))))

    async def setup_hook() -> None:
        await tree.sync()

    client.setup_hook = setup_hook
    client.run(token)


if __name__ == "__main__":
    main()
