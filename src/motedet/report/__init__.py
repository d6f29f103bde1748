"""What a person looks at: tables for the terminal, figures, drawings and one HTML page per run.

Import from the modules: `tables` needs rich, `plots` matplotlib, `page` Jinja2, and none of them
should be paid for by those who only want another.
"""

__all__ = ["drawing", "gallery", "history", "page", "plots", "tables"]
