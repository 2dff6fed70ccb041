module github.com/apnkit/apnkit/examples

go 1.26.0

require github.com/apnkit/apnkit v0.0.0

replace github.com/apnkit/apnkit => ../
