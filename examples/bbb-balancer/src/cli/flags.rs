//! One option for each setting, made from the table of settings.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};

use crate::settings::KEYS;

/// The file, and the settings that were given as options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SettingFlags {
    /// The configuration file.
    pub(crate) config: Option<PathBuf>,
    /// Values by setting.
    pub(crate) values: Vec<(&'static str, String)>,
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Read settings from this TOML file [env: BALANCER_CONFIG]");
        let keys = KEYS.iter().filter(|key| key.has_flag()).map(|key| {
            let mut help = format!("{} [env: {}]", key.help, key.env.join(", "));
            if !key.default.is_empty() && !key.is_switch() {
                help.push_str(&format!(" [default: {}]", key.default));
            }
            let flag = Arg::new(key.name).long(key.flag()).value_name(key.value).help(help).help_heading(key.group);
            if key.is_switch() { flag.num_args(0..=1).require_equals(true).default_missing_value("true") } else { flag }
        });
        command.arg(config).args(keys)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one::<PathBuf>("config").cloned();
        let given = KEYS.iter().filter(|key| key.has_flag());
        self.values = given.filter_map(|key| Some((key.name, matches.get_one::<String>(key.name)?.clone()))).collect();
        Ok(())
    }
}
