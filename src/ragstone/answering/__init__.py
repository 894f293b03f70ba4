"""From hits to a cited answer: grounding, packing, prompt, chat model or extraction, checked citations."""
