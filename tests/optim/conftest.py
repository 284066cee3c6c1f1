"""Tests in this folder run with strict promotion of dtypes and ranks."""

from tests.helpers.strict import standard_promotion, strict_promotion

__all__ = ["standard_promotion", "strict_promotion"]
