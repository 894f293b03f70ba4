"""Words that stand for others: acronyms that texts define, synonyms that a user lists. Knows no store."""
