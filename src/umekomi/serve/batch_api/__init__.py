"""The Batch API and the Files API: routes, storage, execution."""
