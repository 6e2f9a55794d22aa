"""Languages with a tree-sitter grammar, one table entry each, and the detection of a file's language.

An entry names the node types of the grammar that are functions, classes, or only scopes. Each grammar is a wheel on PyPI, such as
``tree-sitter-rust``, which contains the compiled grammar. Nothing is downloaded at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class Language:
    """A language and the node types of its grammar."""

    name: str
    #: Module of the wheel.
    module: str
    extensions: tuple[str, ...]
    functions: tuple[str, ...]
    classes: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    #: Nodes that give a name to an anonymous function, such as ``const twice = (x) => …``: type of the outer node, and types of
    #: its last child.
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Function of the module that returns the grammar.
    entry: str = "language"
    #: Whether adjacent definitions of the same name are one definition, like Haskell's equations.
    merges_adjacent: bool = False


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
             {"assignment": ("call_expression",)}),
    Language("haskell", "tree_sitter_haskell", (".hs",), ("function", "signature", "bind"),
             ("data_type", "newtype", "class", "instance"), merges_adjacent=True),
)  # fmt: skip

PYTHON_EXTENSIONS = (".py", ".pyi", ".pyw")
NOTEBOOK_EXTENSIONS = (".ipynb",)
PROSE_EXTENSIONS = (".md", ".markdown", ".mdx", ".rst", ".txt", ".adoc", ".asciidoc", ".org")
OTHER_EXTENSIONS = {
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
"""Languages without a grammar, which are split into windows of lines."""

FILE_NAMES = {
    "Makefile": "make", "GNUmakefile": "make", "Dockerfile": "docker", "Containerfile": "docker", "CMakeLists.txt": "cmake",
    "Rakefile": "ruby", "Gemfile": "ruby", "Jenkinsfile": "groovy", "README": "prose", "LICENSE": "", "BUILD": "bazel",
}  # fmt: skip
SHEBANGS = {
    "python": "python", "bash": "bash", "sh": "bash", "zsh": "bash", "perl": "perl", "ruby": "ruby", "node": "javascript",
    "lua": "lua", "php": "php",
}  # fmt: skip

GRAMMARS = {language.name: language for language in LANGUAGES}
_BY_EXTENSION = {
    **OTHER_EXTENSIONS,
    **{extension: language.name for language in LANGUAGES for extension in language.extensions},
    **dict.fromkeys(PYTHON_EXTENSIONS, "python"),
    **dict.fromkeys(NOTEBOOK_EXTENSIONS, "notebook"),
    **dict.fromkeys(PROSE_EXTENSIONS, "prose"),
}
LANGUAGE_NAMES = tuple(sorted({*_BY_EXTENSION.values(), *filter(None, FILE_NAMES.values())}))


def detect_language(path: str | PurePath, head: str = "") -> str | None:
    """Return the language of a file by its name or by the ``#!`` of its first line, or None if it is unknown.

    >>> detect_language("src/main.rs"), detect_language("run", "#!/usr/bin/env python3"), detect_language("a.png")
    ('rust', 'python', None)

    Args:
        path: Path of the file.
        head: Beginning of the text of the file.
    """
    name = PurePath(path).name
    if name in FILE_NAMES:
        return FILE_NAMES[name] or None
    suffix = PurePath(name).suffix
    if suffix or not head.startswith("#!"):
        return _BY_EXTENSION.get(suffix.lower())
    words = head.splitlines()[0].removeprefix("#!").replace("/", " ").split()
    programs = (word.rstrip("0123456789.") for word in reversed(words) if not word.startswith("-"))
    return next((SHEBANGS[program] for program in programs if program in SHEBANGS), None)
