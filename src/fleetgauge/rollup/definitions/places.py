"""YAML with the line of every key, so that a problem can be shown where it stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Path = Sequence[int | str]
"""Keys and numbers of list items, from the top of the document."""


class NotYaml(ValueError):
    """The text cannot be read at all; `line` counts from 1."""

    def __init__(self, line: int, said: str) -> None:
        self.line = line
        super().__init__(said)


@dataclass(frozen=True)
class Document:
    """A document's value and its nodes, which know their places."""

    value: Any
    root: yaml.Node | None

    def line(self, path: Path) -> int:
        """The line of the key, or of the list item, that `path` leads to; of the last one on the way that is there.

        Parts that are no key there are passed over: pydantic's paths also name the member of a union.
        """
        node, line = self.root, 1
        for part in path:
            if isinstance(node, yaml.MappingNode):
                for key, value in node.value:
                    if key.value == str(part):
                        node, line = value, key.start_mark.line + 1
                        break
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
        return line

    def twice(self) -> Iterator[tuple[int, str]]:
        """Line and name of each key that stands in a mapping for a second time: plain YAML lets it win in silence."""
        waiting, met = [self.root], set()
        while waiting:
            node = waiting.pop()
            if node is None or id(node) in met:  # an alias may lead back
                continue
            met.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting.extend(node.value)
            elif isinstance(node, yaml.MappingNode):
                seen: set[str] = set()
                for key, value in node.value:
                    if isinstance(key, yaml.ScalarNode):
                        if key.value in seen:
                            yield key.start_mark.line + 1, key.value
                        seen.add(key.value)
                    waiting.append(value)


def read(text: str) -> Document:
    """Parse one document. Raises `NotYaml`."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        return Document(None if root is None else loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotYaml(mark.line + 1 if mark else 1, error.problem or "is not YAML") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date such as 2026-13-01 is a ValueError
        raise NotYaml(1, f"is not YAML: {str(error).splitlines()[0]}") from None
    finally:
        loader.dispose()
