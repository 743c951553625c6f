"""Published methods that iotlam is measured against, written anew for its tokens."""
