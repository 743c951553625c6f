from iotlam.conformance.testing import modality_tests

test_conformance = modality_tests("newsensor")
