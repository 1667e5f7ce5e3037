"""What a user declares: entities, sources, features, labels, feature services.

A decorator marks one function and hands back a :class:`Feature`, which still can be called as the plain function. It
checks what that function alone can tell; the registry checks the rest. Nothing is registered anywhere by declaring it.
"""

from featurestore.definition.decorators import REDUCTIONS, Reduction, aggregations, feature, label
from featurestore.definition.entities import Entity
from featurestore.definition.features import AS_OF, Feature, RowFeature, WindowFeature, annotations_of, located
from featurestore.definition.labels import Label
from featurestore.definition.services import FeatureService, Listed, RoleFeature, on
from featurestore.definition.sources import OnInvalid, Source, SourceBy
from featurestore.times import Duration

__all__ = [
    "AS_OF",
    "REDUCTIONS",
    "Duration",
    "Entity",
    "Feature",
    "FeatureService",
    "Label",
    "Listed",
    "OnInvalid",
    "Reduction",
    "RoleFeature",
    "RowFeature",
    "Source",
    "SourceBy",
    "WindowFeature",
    "aggregations",
    "annotations_of",
    "feature",
    "label",
    "located",
    "on",
]
