package apn

// PastDocuments is how many earlier documents of an app are kept.
const PastDocuments = pastDocuments
