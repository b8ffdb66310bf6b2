// Reads a dashboard and says what of it is no part of Grafana's published schema.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		var read dashboard.Dashboard
		if err = read.UnmarshalJSONStrict(text); err == nil {
			err = read.Validate()
		}
	}
	// What found nothing may be an empty list of errors.
	if err != nil && err.Error() != "" {
		fmt.Println(err)
		os.Exit(1)
	}
}
