"""Texts of the golden vectors: short, long and unusual ones."""

_PARAGRAPH = (
    "The boundary layer of a flat plate in a supersonic stream grows with the square root of the distance from its edge, "
    "and the friction on it falls with the Reynolds number; heat enters the wall where the recovery temperature is higher. "
)

TEXTS = [
    "a", "I", ".", "!!!", "0", " ", "\n", "\t \n", "é", "…", "hello", "Hello, World!", "HELLO WORLD", "naïve café façade",
    "The cat sat on the mat.", "A man is playing a guitar.", "Someone plays an instrument.", "It's 3 o'clock; don't be late!",
    "Prices rose 4.5% to $1,234.56 in 2023.", "https://example.com/a/b?c=d&e=f#g", "user@example.org", "C:\\Windows\\System32",
    "def add(a, b):\n    return a + b", "SELECT * FROM t WHERE x = 'y';", "for (int i = 0; i < n; ++i) { sum += a[i]; }",
    "getUserNameFromHTTPRequest snake_case_name kebab-case", "λ x → x² ∀ ∃ ≠ ≤", "αβγδ ελληνικά", "Привет, мир!", "مرحبا بالعالم",
    "שלום עולם", "สวัสดีชาวโลก", "नमस्ते दुनिया", "안녕하세요 세계", "你好，世界", "こんにちは世界", "猫が好きです。",
    "東京都の天気は晴れのち曇りです。", "犬と猫のどちらが好きですか？", "ｶﾀｶﾅと全角ＡＢＣ１２３", "機械学習による文章の埋め込みベクトル",
    "mixed 日本語 and English テキスト", "😀", "👍🏽 great 🎉🎉", "family: 👨‍👩‍👧‍👦", "flag 🇯🇵 and 🇫🇷", "zero\u200bwidth\u200djoiner", "soft\u00adhyphen",
    "NUL\x00inside", "\x00", "\x01\x02\x03", "bell\x07 and escape\x1b[31m red", "tab\tseparated\tvalues", "line one\nline two\r\nline three",
    "\ufeffbyte order mark", "non\u00a0breaking\u2003space", "combining e\u0301 and a\u0308", "ﬁ ligature ﬂ", "ÀÉÎÕÜ ñ ç ø å ß", "x" * 300,
    "supercalifragilisticexpialidocious antidisestablishmentarianism", "the " * 40, "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    _PARAGRAPH, _PARAGRAPH * 3, (_PARAGRAPH * 20)[:3700].rsplit(" ", 1)[0], "これは長い文章です。" * 60, "good coffee " * 200,
]  # fmt: skip
