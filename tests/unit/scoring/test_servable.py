"""What the online service cannot read is said by training, in one sentence that names the way out."""

from contract import FeatureSchema
from contract.feature_schema import EntityKey, FeatureSpec, RequestInput, SourceView
from scoring.servable import why_not_served


def _schema(*features: FeatureSpec, transformations: bool = False, given: str = "amount") -> FeatureSchema:
    return FeatureSchema(
        project="shop",
        feature_service="shop_v1",
        entity_keys=(EntityKey(join_key="shop_id", dtype="int64"), EntityKey(join_key="day", dtype="string")),
        views=(SourceView(name="a", ttl_seconds=None), SourceView(name="b", ttl_seconds=None, join_keys=("day",))),
        features=features,
        request_inputs=(RequestInput(name=given, dtype="float64", filled_by="request"),) if transformations else (),
        transformations={"worth": "0" * 64} if transformations else {},
    )


def _feature(view: str, name: str, element: int | None = None) -> FeatureSpec:
    suffix = "" if element is None else f"__{element}"
    return FeatureSpec(name=f"{view}__{name}{suffix}", dtype="float64", view=view, sources=(view,), element=element)


def test_keys_of_any_type_and_names_that_differ_are_served() -> None:
    assert [] == why_not_served(_schema(_feature("a", "size"), _feature("b", "area"), transformations=True))


def test_elements_of_one_array_are_one_feature() -> None:
    assert [] == why_not_served(_schema(_feature("a", "taste", 0), _feature("a", "taste", 1), transformations=True))


def test_the_same_name_in_two_views_is_served_where_no_view_is_on_demand() -> None:
    twice = (_feature("a", "size"), _feature("b", "size"))

    assert [] == why_not_served(_schema(*twice))
    (reason,) = why_not_served(_schema(*twice, transformations=True))
    assert "feature service 'shop_v1': two feature views share the feature names ['size']" in reason


def test_a_request_input_takes_nobody_elses_name() -> None:
    (key,) = why_not_served(_schema(_feature("a", "size"), transformations=True, given="day"))
    (feature,) = why_not_served(_schema(_feature("a", "size"), transformations=True, given="size"))

    assert "request input 'day' has the name of a join key" in key
    assert "request input 'size' has the name of a feature" in feature


def test_a_view_without_an_entity_is_named() -> None:
    schema = _schema(_feature("a", "size"))
    dummy = EntityKey(join_key="__dummy_id", dtype="string")

    (reason,) = why_not_served(schema.model_copy(update={"entity_keys": (*schema.entity_keys, dummy)}))

    assert "a feature view has no entity" in reason
