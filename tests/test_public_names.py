import umekomi


def test_the_public_names_are_these() -> None:
    assert umekomi.__all__ == [
        "DEFAULT_MODEL",
        "Catalog",
        "Embedder",
        "ModelCard",
        "Prepared",
        "Role",
        "Settings",
        "UmekomiError",
        "__version__",
        "load_catalog",
    ]


def test_every_public_name_can_be_had() -> None:
    for name in umekomi.__all__:
        assert getattr(umekomi, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(umekomi, "nothing_of_this_name")
