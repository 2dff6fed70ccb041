package apn

// Encoded returns how many times a document of an app was encoded.
func (n *Network) Encoded(app string) int {
	a := n.documentsOf(app)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.encoded
}

// PastDocuments is how many earlier documents are kept.
const PastDocuments = pastDocuments
