"""The languages that are cut by a tree-sitter grammar: one row each, and a new language is a new row.

Each row names the node types of its grammar that are functions, classes, or nothing but a scope. The grammars are the
languages' own wheels on PyPI (``tree-sitter-rust`` and so on), which hold the compiled grammar: nothing is fetched when they run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class Language:
    """A language and what its grammar calls things.

    ``module`` is the wheel's module and ``entry`` its function. ``values`` are the nodes that give a name to a function that
    has none (``const twice = (x) => …``): the type of the holder, to the types of what it holds last. ``docs`` are nodes beside
    comments that document what follows. ``joined`` says that neighbours of one name are one definition (Haskell's equations).
    """

    name: str
    module: str
    extensions: tuple[str, ...]
    functions: tuple[str, ...]
    classes: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    docs: tuple[str, ...] = ()
    entry: str = "language"
    joined: bool = False


_JS_FUNCTIONS = ("function_declaration", "generator_function_declaration", "method_definition")
_JS_VALUES = dict.fromkeys(
    ("variable_declarator", "assignment_expression", "pair"), ("arrow_function", "function_expression")
)
_TS_FUNCTIONS = (*_JS_FUNCTIONS, "function_signature", "method_signature")
_TS_CLASSES = (
    "class_declaration", "abstract_class_declaration", "interface_declaration", "enum_declaration", "type_alias_declaration",
)  # fmt: skip
_C_CLASSES = ("struct_specifier", "union_specifier", "enum_specifier", "type_definition")
_C_FUNCTIONS = ("function_definition", "preproc_function_def")

LANGUAGES = (
    Language("javascript", "tree_sitter_javascript", (".js", ".mjs", ".cjs", ".jsx"), _JS_FUNCTIONS,
             ("class_declaration",), values={**_JS_VALUES, "field_definition": _JS_VALUES["pair"]}),
    Language("typescript", "tree_sitter_typescript", (".ts", ".mts", ".cts"), _TS_FUNCTIONS, _TS_CLASSES,
             ("internal_module", "module"), {**_JS_VALUES, "public_field_definition": _JS_VALUES["pair"]},
             entry="language_typescript"),
    Language("tsx", "tree_sitter_typescript", (".tsx",), _TS_FUNCTIONS, _TS_CLASSES, ("internal_module", "module"),
             {**_JS_VALUES, "public_field_definition": _JS_VALUES["pair"]}, entry="language_tsx"),
    Language("java", "tree_sitter_java", (".java",), ("method_declaration", "constructor_declaration"),
             ("class_declaration", "interface_declaration", "enum_declaration", "record_declaration",
              "annotation_type_declaration")),
    Language("c", "tree_sitter_c", (".c", ".h"), _C_FUNCTIONS, _C_CLASSES),
    Language("c++", "tree_sitter_cpp", (".cc", ".cpp", ".cxx", ".c++", ".hh", ".hpp", ".hxx", ".ipp", ".cu", ".cuh"),
             _C_FUNCTIONS, (*_C_CLASSES, "class_specifier"), ("namespace_definition",)),
    Language("c#", "tree_sitter_c_sharp", (".cs",),
             ("method_declaration", "constructor_declaration", "local_function_statement", "operator_declaration"),
             ("class_declaration", "interface_declaration", "struct_declaration", "record_declaration", "enum_declaration",
              "delegate_declaration"), ("namespace_declaration",)),
    Language("go", "tree_sitter_go", (".go",), ("function_declaration", "method_declaration"), ("type_spec",)),
    Language("rust", "tree_sitter_rust", (".rs",), ("function_item", "function_signature_item", "macro_definition"),
             ("struct_item", "enum_item", "trait_item", "union_item"), ("impl_item", "mod_item")),
    Language("php", "tree_sitter_php", (".php", ".phtml"), ("function_definition", "method_declaration"),
             ("class_declaration", "interface_declaration", "trait_declaration", "enum_declaration"),
             entry="language_php"),
    Language("ruby", "tree_sitter_ruby", (".rb", ".rake", ".gemspec"), ("method", "singleton_method"), ("class", "module")),
    Language("kotlin", "tree_sitter_kotlin", (".kt", ".kts"), ("function_declaration", "secondary_constructor"),
             ("class_declaration", "object_declaration"), ("companion_object",)),
    Language("swift", "tree_sitter_swift", (".swift",),
             ("function_declaration", "init_declaration", "protocol_function_declaration"),
             ("class_declaration", "protocol_declaration")),
    Language("dart", "tree_sitter_dart", (".dart",), ("method_signature", "function_signature"),
             ("class_definition", "mixin_declaration", "enum_declaration", "extension_declaration")),
    Language("scala", "tree_sitter_scala", (".scala", ".sc"), ("function_definition", "function_declaration"),
             ("class_definition", "object_definition", "trait_definition", "enum_definition")),
    Language("lua", "tree_sitter_lua", (".lua",), ("function_declaration",),
             values={"assignment_statement": ("function_definition",)}),
    Language("perl", "tree_sitter_perl", (".pl", ".pm", ".t"), ("subroutine_declaration_statement",)),
    Language("bash", "tree_sitter_bash", (".sh", ".bash", ".zsh"), ("function_definition",)),
    Language("powershell", "tree_sitter_powershell", (".ps1", ".psm1"), ("function_statement", "class_method_definition"),
             ("class_statement",)),
    Language("objective-c", "tree_sitter_objc", (".m", ".mm"), ("method_definition", "method_declaration", "function_definition"),
             ("class_interface", "protocol_declaration", "struct_specifier"), ("class_implementation",)),
    Language("sql", "tree_sitter_sql", (".sql",), ("create_function", "create_trigger"), ("create_table", "create_view")),
    Language("julia", "tree_sitter_julia", (".jl",), ("function_definition", "macro_definition"),
             ("struct_definition", "abstract_definition"), ("module_definition",),
             {"assignment": ("call_expression",)}, ("string_literal",)),
    Language("haskell", "tree_sitter_haskell", (".hs",), ("function", "signature", "bind"),
             ("data_type", "newtype", "class", "instance"), joined=True),
)  # fmt: skip

PYTHON = (".py", ".pyi", ".pyw")
NOTEBOOK = (".ipynb",)
PROSE = (".md", ".markdown", ".mdx", ".rst", ".txt", ".adoc", ".asciidoc", ".org")
LINES = {
    ".pyx": "cython", ".pxd": "cython", ".r": "r", ".rmd": "r", ".jsonc": "json", ".yaml": "yaml", ".yml": "yaml",
    ".toml": "toml", ".ini": "ini", ".cfg": "ini", ".html": "html", ".htm": "html", ".css": "css", ".scss": "css",
    ".less": "css", ".vue": "vue", ".svelte": "svelte", ".proto": "protobuf", ".graphql": "graphql", ".cmake": "cmake",
    ".mk": "make", ".tf": "terraform", ".nix": "nix", ".ex": "elixir", ".exs": "elixir", ".erl": "erlang", ".clj": "clojure",
    ".cljs": "clojure", ".ml": "ocaml", ".mli": "ocaml", ".fs": "f#", ".vb": "visual basic", ".groovy": "groovy",
    ".gradle": "groovy", ".zig": "zig", ".nim": "nim", ".cr": "crystal", ".d": "d",
    ".el": "lisp", ".lisp": "lisp", ".scm": "lisp",
    ".rkt": "lisp", ".vim": "vim", ".asm": "assembly", ".s": "assembly", ".f90": "fortran", ".f": "fortran", ".pas": "pascal",
    ".adb": "ada", ".ads": "ada", ".v": "verilog", ".sv": "verilog", ".vhd": "vhdl", ".sol": "solidity", ".awk": "awk",
    ".tcl": "tcl", ".m4": "m4", ".bat": "batch", ".fish": "fish", ".glsl": "glsl", ".wgsl": "wgsl", ".metal": "metal",
}  # fmt: skip
"""Read by lines, for want of a grammar here."""

NAMES = {
    "Makefile": "make", "GNUmakefile": "make", "Dockerfile": "docker", "Containerfile": "docker", "CMakeLists.txt": "cmake",
    "Rakefile": "ruby", "Gemfile": "ruby", "Jenkinsfile": "groovy", "README": "prose", "LICENSE": "", "BUILD": "bazel",
}  # fmt: skip
SHEBANGS = {
    "python": "python", "bash": "bash", "sh": "bash", "zsh": "bash", "perl": "perl", "ruby": "ruby", "node": "javascript",
    "lua": "lua", "php": "php",
}  # fmt: skip

GRAMMARS = {language.name: language for language in LANGUAGES}
_BY_EXTENSION = {
    **LINES,
    **{extension: language.name for language in LANGUAGES for extension in language.extensions},
    **dict.fromkeys(PYTHON, "python"),
    **dict.fromkeys(NOTEBOOK, "notebook"),
    **dict.fromkeys(PROSE, "prose"),
}
ALL = tuple(sorted({*_BY_EXTENSION.values(), *filter(None, NAMES.values())}))


def language_of(path: str | PurePath, head: str = "") -> str | None:
    """The language of a file by its name, or by the ``#!`` of its first line; None where neither says.

    >>> language_of("src/main.rs"), language_of("run", "#!/usr/bin/env python3"), language_of("a.png")
    ('rust', 'python', None)
    """
    name = PurePath(path).name
    if name in NAMES:
        return NAMES[name] or None
    suffix = PurePath(name).suffix
    found = _BY_EXTENSION.get(suffix.lower())
    if found or suffix or not head.startswith("#!"):
        return found
    words = head.splitlines()[0].removeprefix("#!").replace("/", " ").split()
    programs = (word.rstrip("0123456789.") for word in reversed(words) if not word.startswith("-"))
    return next((SHEBANGS[program] for program in programs if program in SHEBANGS), None)
