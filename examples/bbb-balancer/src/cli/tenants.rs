//! What to do with tenants.

use clap::{Args, Subcommand};

use crate::commands::{Limits, TenantOrder};
use console::Failure;

/// What to do with tenants.
#[derive(Subcommand)]
pub(crate) enum Tenants {
    /// Print every tenant (what `tenants` alone does)
    List,
    /// Add a tenant
    #[command(after_help = "Example:\n  bbb-balancer tenants add school $(openssl rand -hex 32) --meetings 50\n\n\
        Its front-ends then call https://NAME.URL_HOST/bigbluebutton/api with one of its secrets.")]
    Add {
        /// Its name: the first label of the host name its front-ends call
        name: String,
        /// Its secrets, several separated by colons
        #[arg(value_name = "SECRETS")]
        secrets: String,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Change name, secrets, limits, or where learning records go
    #[command(after_help = "Examples:\n  bbb-balancer tenants update school --secrets NEW:OLD\n  \
        bbb-balancer tenants update school --meetings 50 --users 2000 --calls 20\n  \
        bbb-balancer tenants update school --lrs-endpoint https://lrs.example.com/xapi --lrs-username u --lrs-password p\n\n\
        For new secrets without a gap: give new and old ones, change the front-ends, then give the new ones alone.")]
    Update(Box<Update>),
    /// Remove a tenant; its meetings go on, and nobody is led to them
    Remove {
        /// Id or name
        tenant: String,
    },
    /// Print the parameters that tenants' create and join calls get
    Settings,
    /// Give a tenant's create and join calls a parameter
    #[command(after_help = "Example:\n  bbb-balancer tenants set school welcome 'Good morning' --override")]
    Set {
        /// Id or name
        tenant: String,
        /// The parameter
        param: String,
        /// Its value
        value: String,
        /// Whatever front-ends send
        #[arg(long = "override")]
        overrides: bool,
    },
    /// Take such a parameter away
    Unset {
        /// The setting's id
        id: String,
    },
}

/// How much a tenant may have.
#[derive(Args)]
pub(crate) struct LimitArgs {
    /// Meetings at once; 0 is no limit
    #[arg(long, value_name = "N")]
    meetings: Option<String>,
    /// People at once in all of its meetings; 0 is no limit
    #[arg(long, value_name = "N")]
    users: Option<String>,
    /// Calls per second that each process answers; 0 is no limit
    #[arg(long, value_name = "N")]
    calls: Option<String>,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Self { meetings: args.meetings, users: args.users, calls: args.calls }
    }
}

/// What changes.
#[derive(Args)]
pub(crate) struct Update {
    /// Id or name
    tenant: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// New secrets, several separated by colons
    #[arg(long)]
    secrets: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
    /// Where learning records go; '' removes it
    #[arg(long, value_name = "URL", help_heading = "Learning records")]
    lrs_endpoint: Option<String>,
    /// User there
    #[arg(long, value_name = "NAME", help_heading = "Learning records")]
    lrs_username: Option<String>,
    /// Password there
    #[arg(long, value_name = "PASSWORD", help_heading = "Learning records")]
    lrs_password: Option<String>,
    /// Where a token for there is had, when there is no password
    #[arg(long, value_name = "URL", help_heading = "Learning records")]
    kc_token_url: Option<String>,
    /// Client of the token service
    #[arg(long, value_name = "ID", help_heading = "Learning records")]
    kc_client_id: Option<String>,
    /// Its secret
    #[arg(long, value_name = "SECRET", help_heading = "Learning records")]
    kc_client_secret: Option<String>,
    /// User of the token service
    #[arg(long, value_name = "NAME", help_heading = "Learning records")]
    kc_username: Option<String>,
    /// Its password
    #[arg(long, value_name = "PASSWORD", help_heading = "Learning records")]
    kc_password: Option<String>,
}

impl Update {
    fn order(self) -> Result<TenantOrder, Failure> {
        let fields = [
            ("name", self.name),
            ("secrets", self.secrets),
            ("lrs_endpoint", self.lrs_endpoint),
            ("lrs_username", self.lrs_username),
            ("lrs_password", self.lrs_password),
            ("kc_token_url", self.kc_token_url),
            ("kc_client_id", self.kc_client_id),
            ("kc_client_secret", self.kc_client_secret),
            ("kc_username", self.kc_username),
            ("kc_password", self.kc_password),
        ];
        let fields: Vec<_> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let limits = Limits::from(self.limits);
        if fields.is_empty() && limits == Limits::default() {
            return Err(Failure::usage("nothing to change").hint("`bbb-balancer tenants update --help` lists what can"));
        }
        Ok(TenantOrder::Update { tenant: self.tenant, fields, limits })
    }
}

impl Tenants {
    pub(super) fn order(self, list: TenantOrder) -> Result<TenantOrder, Failure> {
        Ok(match self {
            Self::List => list,
            Self::Add { name, secrets, limits } => TenantOrder::Add { name, secrets, limits: limits.into() },
            Self::Update(update) => update.order()?,
            Self::Remove { tenant } => TenantOrder::Remove { tenant },
            Self::Settings => TenantOrder::Settings,
            Self::Set { tenant, param, value, overrides } => TenantOrder::Set { tenant, param, value, overrides },
            Self::Unset { id } => TenantOrder::Unset { id },
        })
    }
}
