//! Choice of the node for the next frame, and of the nodes to connect. Pure.

use super::node::{Node, Role};

/// Distribution of frames over nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Over all primaries, by weight.
    #[default]
    Balanced,
    /// To one node at a time, the first one that is up, primaries before standbys,
    /// over one connection, in the order in which the host hands chunks over.
    /// Chunks that the host hands over again, and records that receivers refuse,
    /// lose their place.
    Ordered,
}

/// Availability of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeStatus {
    /// Ready for frames.
    Up,
    /// Ready, and busy with the one frame that it may have until it acknowledges it.
    OnTrial,
    /// Ready, but without progress for too long.
    Suspect,
    /// Not ready, without a known failure.
    Pending,
    /// Not ready: it cannot be reached, or has failed.
    Down,
}

impl NodeStatus {
    /// Returns true if it is better to wait for the node than to use a standby.
    fn is_hopeful(self) -> bool {
        matches!(
            self,
            NodeStatus::Up | NodeStatus::OnTrial | NodeStatus::Pending
        )
    }

    fn is_ready(self) -> bool {
        matches!(
            self,
            NodeStatus::Up | NodeStatus::OnTrial | NodeStatus::Suspect
        )
    }
}

/// Weighted round robin over the nodes, a node with several connections counted once
/// for each.
///
/// Weights are kept exactly: the node whose turn it is gets the frame as soon as
/// its window allows. Only a node without progress is passed over.
#[derive(Debug)]
pub(super) struct Balancer {
    delivery: Delivery,
    shares: Vec<Share>,
}

#[derive(Debug)]
struct Share {
    weight: i64,
    role: Role,
    /// Smooth weighted round robin: grows by `weight` each turn, and is reduced by
    /// the weights of all candidates when the node is chosen.
    credit: i64,
}

impl Balancer {
    /// Creates a balancer of these nodes.
    pub(super) fn new<'a>(nodes: impl Iterator<Item = &'a Node>, delivery: Delivery) -> Balancer {
        let share = |node: &Node| Share {
            weight: i64::from(node.weight.get()),
            role: node.role,
            credit: 0,
        };
        Balancer {
            delivery,
            shares: nodes.map(share).collect(),
        }
    }

    /// Returns true if the node should be connected.
    pub(super) fn is_wanted(&self, node: usize, statuses: &[NodeStatus]) -> bool {
        let ahead: Vec<usize> = match self.delivery {
            Delivery::Balanced if self.role(node) == Some(Role::Primary) => return true,
            Delivery::Balanced => self.of(Role::Primary).collect(),
            Delivery::Ordered => self
                .by_preference()
                .take_while(|other| *other != node)
                .collect(),
        };
        !ahead
            .into_iter()
            .filter_map(|other| statuses.get(other))
            .any(|status| status.is_hopeful())
    }

    /// Returns the node whose turn it is; `None` to wait.
    pub(super) fn next(&self, statuses: &[NodeStatus]) -> Option<usize> {
        if self.delivery == Delivery::Ordered {
            let status = |node: &usize| statuses.get(*node).copied();
            return self
                .by_preference()
                .find(|node| status(node).is_some_and(|it| it != NodeStatus::Down))
                .filter(|node| status(node).is_some_and(NodeStatus::is_ready));
        }
        let best = |group: &[usize]| {
            // Reversed, because `max_by_key` returns the last of equals.
            group.iter().copied().rev().max_by_key(|node| {
                self.shares
                    .get(*node)
                    .map(|share| share.credit.saturating_add(share.weight))
            })
        };
        best(&self.candidates(statuses))
    }

    /// Records that a node got a frame.
    pub(super) fn charge(&mut self, node: usize, statuses: &[NodeStatus]) {
        if self.delivery == Delivery::Ordered {
            return;
        }
        let mut total = 0;
        for other in self.candidates(statuses) {
            if let Some(share) = self.shares.get_mut(other) {
                share.credit = share.credit.saturating_add(share.weight);
                total = share.weight.saturating_add(total);
            }
        }
        if let Some(share) = self.shares.get_mut(node) {
            share.credit = share.credit.saturating_sub(total);
        }
    }

    /// Returns the nodes that may get the next frame: primaries that are up; none
    /// if one of them may soon be up; otherwise suspects, then the same of standbys.
    fn candidates(&self, statuses: &[NodeStatus]) -> Vec<usize> {
        let group = |role, wanted| -> Vec<usize> {
            self.of(role)
                .filter(|node| statuses.get(*node) == Some(&wanted))
                .collect()
        };
        let hopeful = |role| {
            self.of(role)
                .filter_map(|node| statuses.get(node))
                .any(|status| status.is_hopeful())
        };
        for role in [Role::Primary, Role::Standby] {
            let up = group(role, NodeStatus::Up);
            if !up.is_empty() || hopeful(role) {
                return up;
            }
            let suspect = group(role, NodeStatus::Suspect);
            if !suspect.is_empty() {
                return suspect;
            }
        }
        Vec::new()
    }

    fn role(&self, node: usize) -> Option<Role> {
        self.shares.get(node).map(|share| share.role)
    }

    fn of(&self, role: Role) -> impl Iterator<Item = usize> {
        self.shares
            .iter()
            .enumerate()
            .filter(move |(_, share)| share.role == role)
            .map(|(node, _)| node)
    }

    fn by_preference(&self) -> impl Iterator<Item = usize> {
        self.of(Role::Primary).chain(self.of(Role::Standby))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::NodeStatus::{Down, OnTrial, Pending, Suspect, Up};
    use super::*;

    fn balancer(nodes: &[(u32, Role)], delivery: Delivery) -> Balancer {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|&(weight, role)| {
                let mut node = Node::new("a:1".parse().unwrap());
                node.weight = NonZeroU32::new(weight).unwrap();
                node.role = role;
                node
            })
            .collect();
        Balancer::new(nodes.iter(), delivery)
    }

    /// Returns how many of `frames` frames each node gets.
    fn spread(balancer: &mut Balancer, statuses: &[NodeStatus], frames: usize) -> Vec<usize> {
        let mut counts = vec![0; statuses.len()];
        for _ in 0..frames {
            let node = balancer.next(statuses).unwrap();
            balancer.charge(node, statuses);
            counts[node] += 1;
        }
        counts
    }

    #[test]
    fn case_54_weights_hold() {
        use Role::Primary;
        let mut two = balancer(&[(2, Primary), (1, Primary)], Delivery::Balanced);
        assert_eq!(spread(&mut two, &[Up, Up], 3000), [2000, 1000]);
        let mut three = balancer(
            &[(5, Primary), (1, Primary), (1, Primary)],
            Delivery::Balanced,
        );
        let order: Vec<_> = (0..7)
            .map(|_| {
                let node = three.next(&[Up; 3]).unwrap();
                three.charge(node, &[Up; 3]);
                node
            })
            .collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0], "spread, not in blocks");
        assert_eq!(spread(&mut three, &[Down, Up, Up], 100), [0, 50, 50]);
        assert_eq!(
            spread(&mut three, &[Up, Up, Up], 700),
            [500, 100, 100],
            "who comes back has nothing to catch up"
        );
    }

    #[test]
    fn case_53_standbys_are_for_need() {
        use Role::{Primary, Standby};
        let nodes = [(1, Primary), (1, Primary), (1, Standby)];
        /// Statuses, the next node, and whether the standby is wanted.
        type Case = ([NodeStatus; 3], Option<usize>, bool);
        let cases: [Case; 11] = [
            ([Up, Up, Up], Some(0), false),
            ([Down, Up, Up], Some(1), false),
            ([Suspect, Up, Up], Some(1), false),
            ([OnTrial, Up, Up], Some(1), false),
            ([OnTrial, Down, Up], None, false),
            ([Pending, Down, Up], None, false),
            ([Suspect, OnTrial, Up], None, false),
            ([Suspect, Down, Up], Some(0), true),
            ([Down, Down, Up], Some(2), true),
            ([Down, Down, Suspect], Some(2), true),
            ([Down, Down, Pending], None, true),
        ];
        for (statuses, next, wanted) in cases {
            let balancer = balancer(&nodes, Delivery::Balanced);
            assert_eq!(balancer.next(&statuses), next, "{statuses:?}");
            assert_eq!(balancer.is_wanted(2, &statuses), wanted, "{statuses:?}");
            assert!(balancer.is_wanted(0, &statuses));
        }
    }

    #[test]
    fn ordered_is_one_node_at_a_time() {
        use Role::{Primary, Standby};
        let nodes = [(1, Standby), (9, Primary), (9, Primary)];
        /// Statuses, the next node, and which are wanted.
        type Case = ([NodeStatus; 3], Option<usize>, [bool; 3]);
        let cases: [Case; 6] = [
            ([Up, Up, Up], Some(1), [false, true, false]),
            ([Up, Suspect, Up], Some(1), [false, true, true]),
            ([Up, Pending, Up], None, [false, true, false]),
            ([Up, OnTrial, Up], Some(1), [false, true, false]),
            ([Up, Down, Up], Some(2), [false, true, true]),
            ([Up, Down, Down], Some(0), [true, true, true]),
        ];
        for (statuses, next, wanted) in cases {
            let balancer = balancer(&nodes, Delivery::Ordered);
            assert_eq!(balancer.next(&statuses), next, "{statuses:?}");
            assert_eq!(
                [0, 1, 2].map(|node| balancer.is_wanted(node, &statuses)),
                wanted,
                "{statuses:?}"
            );
        }
    }
}
