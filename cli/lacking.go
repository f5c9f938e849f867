package cli

import "strings"

// A Feature is a group of commands of Juju 3.6 that this release does not have.
type Feature struct {
	Name     string
	Instead  string // what to do in this release; may be empty
	Commands []string
}

// Features is what this release lacks, as a document and an unknown command tell.
func Features() []Feature {
	words := strings.Fields
	return []Feature{
		{"Upgrading charms and applications", "deploy the new charm under another name, and remove the old application", words("refresh upgrade-charm bind set-application-base scale-application")},
		{"Bundles", "deploy and integrate the applications one by one, such as in a script", words("diff-bundle export-bundle")},
		{"The charm store", "download the charm elsewhere and deploy the file", words("info find download charm-resources")},
		{"Storage", "charms keep data on their machine's disk", words("storage list-storage show-storage add-storage attach-storage detach-storage remove-storage import-filesystem " +
			"storage-pools list-storage-pools create-storage-pool update-storage-pool remove-storage-pool")},
		{"Secrets", "", words("secrets list-secrets show-secret add-secret update-secret remove-secret grant-secret revoke-secret secret-backends list-secret-backends " +
			"show-secret-backend add-secret-backend update-secret-backend remove-secret-backend model-secret-backend")},
		{"Resources and payloads", "put files into the charm", words("resources list-resources attach-resource payloads list-payloads")},
		{"Relations between models", "deploy both applications into one model", words("offer offers list-offers find-offers show-offer consume remove-offer remove-saas " +
			"suspend-relation resume-relation firewall-rules list-firewall-rules set-firewall-rule")},
		{"Debugging a hook in a terminal", "read scarab debug-log and scarab why, run hook tools with scarab exec", words("debug-hooks debug-hook debug-code")},
		{"Other clouds, and credentials", "the local cloud needs neither", words("show-cloud add-cloud update-cloud remove-cloud update-public-clouds add-k8s update-k8s remove-k8s credentials list-credentials " +
			"show-credential add-credential autoload-credentials update-credential remove-credential set-credential default-region default-credential grant-cloud revoke-cloud")},
		{"Spaces and subnets", "a model has the one space alpha", words("spaces list-spaces add-space show-space rename-space remove-space reload-spaces move-to-space subnets list-subnets")},
		{"Several controllers as one, upgrades, backups", "", words("enable-ha upgrade-controller upgrade-model upgrade-machine sync-agent-binary sync-agent-binaries " +
			"create-backup download-backup migrate")},
		{"Blocking commands", "", words("disable-command enable-command disabled-commands list-disabled-commands enable-destroy-controller")},
		{"Defaults of models, and dumps", "scarab model-config after scarab add-model", words("model-default model-defaults dump-model dump-db")},
		{"Registering and the dashboard", "an administrator sets a password with scarab add-user", words("register dashboard")},
		{"Others", "", words("show-action import-ssh-key metrics collect-metrics set-meter-status add-branch track commit branch diff abort commits show-commit documentation help-action-commands help-hook-commands")},
	}
}

// lacking finds the feature that a command of Juju belongs to.
func lacking(name string) (Feature, bool) {
	for _, f := range Features() {
		for _, c := range f.Commands {
			if c == name {
				return f, true
			}
		}
	}
	return Feature{}, false
}
