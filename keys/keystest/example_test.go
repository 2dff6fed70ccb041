package keystest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

// A test of a program that uses a KEK: count its calls, then let it fail.
func ExampleFakeKEK() {
	ctx, now := context.Background(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	kek := keystest.NewKEK("kms/1")
	dek, err := keys.NewDEK(ctx, keys.Multi(kek), "acme", 1, now)
	fmt.Println(kek.Wraps(), kek.Unwraps(), err)

	kek.Fail(errors.New("connection refused"))
	_, err = keys.OpenRing(ctx, keys.Multi(kek), now, dek)
	fmt.Println(errors.Is(err, keys.ErrKEKUnavailable))
	// Output:
	// 1 0 <nil>
	// true
}
